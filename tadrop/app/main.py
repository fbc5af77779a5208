"""The command line of a run, or of a sweep: what run.py and `tadrop run` do."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tadrop.app.places import CONF
from tadrop.app.verbs.methods import listing

OmegaConf.register_new_resolver("rows", listing, replace=True)  # for --help


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    from tadrop.app import pipeline
    from tadrop.app.console import compare, show, show_written
    from tadrop.app.run import reference_configs, run

    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    with pipeline.mistakes_in_one_line(sweeping):
        pipeline.check(cfg)
        if not cfg.evaluate:
            show_written(pipeline.merge_only(cfg))
            return
        individual, *others = (*reference_configs(cfg), cfg)
        records = [run(individual)]
        compare(records[0])  # a wrong split or head is seen before anything is merged
        records += map(run, others)
        show(records, Path(cfg.paths.records), brief=sweeping)


def run_words(words: list[str]) -> None:
    """Runs these words of a command line. Hydra reads them from sys.argv."""
    sys.argv = [
        sys.argv[0],
        *("dry_run=true" if word == "--dry-run" else word for word in words),
    ]
    main()
