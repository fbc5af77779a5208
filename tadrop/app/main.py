"""The command line of a run, or of a sweep: what run.py and `tadrop run` do."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tadrop.app.boards import catalogue
from tadrop.app.places import CONF
from tadrop.errors import TadropError

catalogue.register()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One job: the references that its table needs, then the run itself."""
    from tadrop.app.mistakes import mistakes_in_one_line
    from tadrop.app.terminal.loading import loading

    with loading():
        from tadrop.app.runs.checks import check
        from tadrop.app.runs.exporting import merge_only
        from tadrop.app.runs.run import recorded, reference_configs, run
        from tadrop.app.showing import compare, show, show_written

    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    with mistakes_in_one_line(sweeping):
        check(cfg)
        if not cfg.evaluate:
            show_written(merge_only(cfg))
            return
        configs = (*reference_configs(cfg), cfg)
        ran = not all(map(recorded, configs))
        individual, *others = configs
        records = [run(individual)]
        compare(records[0])  # a wrong split or head is seen before anything is merged
        records += map(run, others)
        show(records, Path(cfg.paths.records), brief=sweeping, ran=ran)


def run_words(words: Sequence[str]) -> None:
    """Runs these words of a command line; Hydra reads them from sys.argv."""
    from tadrop.app.mistakes import check_renamed, told_in_one_line
    from tadrop.app.schema.commands import spelled

    plain = ["dry_run=true" if word == "--dry-run" else word for word in words]
    # Errors come to us, and not to Hydra's own printing of them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with told_in_one_line():
        check_renamed(plain)
        sys.argv = [sys.argv[0], *spelled(plain)]
        try:
            main()
        except TadropError:
            _leave_sweep()
            raise


def _leave_sweep() -> None:
    """Ends the command where a launcher's worker
    has told what went wrong in its job.
    """
    from tadrop.app.progress import SweepProgress

    if SweepProgress.started is not None:
        SweepProgress.started.leave()
