"""The progress of a whole sweep, as a Hydra callback (conf/config.yaml,
hydra.callbacks): which of how many jobs, and how many were done, skipped because their
record is there, or failed. A recipe's table follows its last job.

Where the jobs run in this process, every run's bars have the sweep's above them and the
last job is followed by a summary. A worker of a launcher is a process of its own and
knows only which job it
has: it says so in its lines.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


def jobs(config: DictConfig) -> int | None:
    """How many jobs Hydra's own sweeper makes of a command; None for another sweeper."""
    sweeper = config.hydra.sweeper
    if not sweeper["_target_"].endswith("BasicSweeper"):
        return None
    words = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(
        config_loader=GlobalHydra.instance().config_loader()
    )
    batches = BasicSweeper.split_arguments(
        parser.parse_overrides([*words, *config.hydra.overrides.task]), None
    )
    return sum(map(len, batches))


SETTLED: set[int] = (
    set()
)  # workers that have taken a GPU: what they load stays there from job to job


def take_gpu(job: int) -> None:
    """Gives a launcher's worker a GPU of its own, as far as there are enough, where it
    would take the first.
    """
    import torch

    if (count := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(job % count)


class SweepProgress(Callback):
    """Counts jobs and tells tadrop.app.console where the running one stands."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.process: int | None = (
            None  # where the sweep was started and its jobs can be counted
        )
        self.counts: Counter[str] = Counter()
        self.recorded = False
        self.sweep: DictConfig | None = None  # whose table is still to be made

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.dry_run:
            self.tell_owed(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.dry_run:
            self.tell_owed(config)
        self.total, self.process, self.sweep = jobs(config), os.getpid(), config

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.show_recipe()

    def tell_owed(self, config: DictConfig) -> None:
        """Says what a recipe would take, and ends the command: nothing is run."""
        from tadrop.app import boards as recipes
        from tadrop.app import cost
        from tadrop.app.mistakes import told_in_one_line

        recipe, words = recipes.of_command(config.hydra.overrides.task)
        if recipe is None:
            sys.exit(
                f"error: --dry-run tells of a recipe: +experiment=NAME, one of {', '.join(recipes.names())}"
            )
        GlobalHydra.instance().clear()  # telling composes the recipe's runs anew
        with told_in_one_line():
            cost.tell(recipe, Path(config.paths.records), words)
        sys.exit()

    def show_recipe(self) -> None:
        """Prints and writes the table of the recipe that was swept, if it was one."""
        from tadrop.app import boards as recipes

        config, self.sweep = self.sweep, None
        if config is None or not config.evaluate:
            return
        recipe, words = recipes.of_command(config.hydra.overrides.task)
        if recipe is not None:
            from tadrop.app.verbs import results

            # the sweep is over, and rendering composes its runs again
            GlobalHydra.instance().clear()
            results.after_sweep(
                recipe, words, Path(config.paths.records), Path(config.paths.results)
            )

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        from tadrop.app import console
        from tadrop.app.terminal.loading import loading

        # It is one run, or a sweeper that does not say how many there will be.
        if self.total is None:
            return
        with loading():
            from tadrop.results import record

        job = OmegaConf.to_container(
            OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]),
            resolve=True,
        )
        self.recorded = (
            not job["overwrite"]
            and record.path(Path(job["paths"]["records"]), job).exists()
        )
        console.position.set(
            console.Position(config.hydra.job.num + 1, self.total, dict(self.counts))
        )
        if self.process != os.getpid() and os.getpid() not in SETTLED:
            SETTLED.add(os.getpid())
            take_gpu(config.hydra.job.num)

    def on_job_end(
        self, config: DictConfig, job_return: JobReturn, **kwargs: Any
    ) -> None:
        from tadrop.app import console

        if self.process != os.getpid():
            return
        failed = job_return.status is not JobStatus.COMPLETED
        self.counts["failed" if failed else "skipped" if self.recorded else "done"] += 1
        if self.counts.total() == self.total:
            console.position.set(None)
            again = (
                "; the same command runs what failed again"
                if self.counts["failed"]
                else ""
            )
            console.err.print(
                f"sweep: {console.counted(self.total, self.counts)}{again}",
                soft_wrap=True,
            )
            if self.counts["failed"]:
                self.show_recipe()
                sys.exit(
                    1
                    # each failure has been told; Hydra would tell the first again, with a
                    # traceback
                )
