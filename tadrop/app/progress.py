"""The progress of a whole sweep, as a Hydra callback (conf/config.yaml).

It says which of how many jobs runs, and how many were done, skipped because their record
is there, or failed. A board's table follows its last job.

Where the jobs run in this process, every run's bars have the sweep's above them, and the
last job is followed by a summary. A worker of a launcher is a process of its own and
knows only which job it has: it says so in lines, as bars of several processes would
overwrite one another. The table that follows is then made of the records that are there.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from tadrop.app.terminal.sweeps import varied_keys, varied_words

if TYPE_CHECKING:
    from tadrop.app.boards.board import Board

# Workers that have taken a GPU: what they load stays there from job to job.
SETTLED: set[int] = set()


def overrides(config: DictConfig) -> list[list[str]] | None:
    """The words of each job that Hydra's own sweeper makes of a command.

    None for another sweeper.
    """
    from tadrop.app.boards.composing import batches

    if not config.hydra.sweeper["_target_"].endswith("BasicSweeper"):
        return None
    return batches(swept(config))


def jobs(config: DictConfig) -> int | None:
    """How many jobs Hydra's own sweeper makes of a command;
    None for another sweeper.
    """
    words = overrides(config)
    return None if words is None else len(words)


def swept(config: DictConfig) -> list[str]:
    """The words that say what a sweep varies: the sweeper's own, and the command's."""
    params = config.hydra.sweeper.get("params") or {}
    words = [f"{key}={value}" for key, value in params.items()]
    return [*words, *config.hydra.overrides.task]


def board_of(words: Sequence[str]) -> "Board | None":
    """The board that a command line names, with its other words; None for none."""
    from tadrop.app.boards.board import Board

    named: list[str] = []
    others: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        if key.lstrip("+") == "board":
            named.append(value)
        else:
            others.append(word)
    return Board(named[0], tuple(others)) if named else None


def take_gpu(job: int) -> None:
    """Gives a launcher's worker a GPU of its own, as far as there are enough.

    Left alone it would take the first.
    """
    import torch

    count = torch.cuda.device_count()
    if count > 1:
        torch.cuda.set_device(job % count)


def load_boards() -> None:
    """Imports what knows of boards, and with it torch, while a line says so."""
    from tadrop.app.terminal.loading import loading

    with loading():
        import tadrop.app.boards.board  # noqa: F401  # for those who import it below


class SweepProgress(Callback):
    """Counts jobs and tells tadrop.app.console where the running one stands.

    loader: Hydra's, of the configuration of each job
    total: how many jobs there are, where they can be counted
    process: where the sweep was started and its jobs are counted
    recorded: whether the running job's record was there before
    sweep: the configuration whose table is still to be made
    varied: the keys to which its jobs give different values
    records: where the records of its jobs and of their references lie, in order
    """

    started: ClassVar["SweepProgress | None"] = None  # the sweep of this process

    def __init__(self) -> None:
        self.loader: Any = None
        self.total: int | None = None
        self.process: int | None = None
        self.counts: Counter[str] = Counter()
        self.recorded = False
        self.sweep: DictConfig | None = None
        self.varied: tuple[str, ...] = ()
        self.records: dict[Path, None] = {}

    def on_run_start(
        self,
        config: DictConfig,
        **kwargs: Any,
    ) -> None:
        if config.dry_run:
            load_boards()
            self.tell_owed(config)

    def on_multirun_start(
        self,
        config: DictConfig,
        **kwargs: Any,
    ) -> None:
        load_boards()
        if config.dry_run:
            self.tell_owed(config)
        self.check_board(config)
        SweepProgress.started = self
        self.loader = GlobalHydra.instance().config_loader()
        self.total, self.process, self.sweep = jobs(config), os.getpid(), config
        if self.total is not None:
            self.varied = varied_keys(swept(config))
        self.tell_ahead(config)
        if config.get("tracker") is not None:
            self.name_group(config)

    def on_multirun_end(
        self,
        config: DictConfig,
        **kwargs: Any,
    ) -> None:
        self.show_tables()

    def name_group(self, config: DictConfig) -> None:
        """Says to trackers, and to those of workers, what this sweep's runs share."""
        from tadrop.app.trackers.telling import SWEEP

        board = board_of(config.hydra.overrides.task)
        now = time.strftime("sweep-%Y%m%d-%H%M%S")
        os.environ[SWEEP] = now if board is None else board.name

    def tell_ahead(self, config: DictConfig) -> None:
        """Says how long a board will take, where its words make one."""
        from tadrop.app.boards import cost
        from tadrop.app.boards.recorded import recorded
        from tadrop.app.console import err, say

        board = board_of(config.hydra.overrides.task)
        if board is not None and config.evaluate:
            for one in board.on_each_task_set():
                say(cost.ahead(recorded(one, Path(config.paths.records))), err)

    def check_board(self, config: DictConfig) -> None:
        """Ends the command where its board is for another number of tasks."""
        from tadrop.app.boards.board import check
        from tadrop.app.mistakes import told_in_one_line

        with told_in_one_line():
            check(config)

    def tell_owed(self, config: DictConfig) -> None:
        """Says what the command would take, and ends it: nothing is run."""
        from tadrop.app.boards import cost
        from tadrop.app.mistakes import told_in_one_line

        folder = Path(config.paths.records)
        with told_in_one_line():
            board = board_of(config.hydra.overrides.task)
            if board is None:
                cost.tell_of(config.hydra.overrides.task, folder)
            else:
                cost.tell(board, folder)
        sys.exit()

    def show_tables(self) -> None:
        """Prints the table of the sweep; one of a board is written as well."""
        config, self.sweep = self.sweep, None
        if config is None or not config.evaluate:
            return
        board = board_of(config.hydra.overrides.task)
        if board is None:
            from tadrop.app.boards.writing import publish
            from tadrop.app.showing import show_sweep

            if not self.records:
                self.expect(config)
            publish(show_sweep(tuple(self.records)), config.get("tracker"))
        else:
            from tadrop.app.boards.writing import after_sweep

            paths = config.paths
            folders = Path(paths.records), Path(paths.results)
            after_sweep(board, *folders, config.get("tracker"))

    def expect(self, config: DictConfig) -> None:
        """Notes where the jobs have left their records, where they ran in workers."""
        for words in overrides(config) or ():
            self.note(self.loader.load_sweep_config(config, words))

    def note(self, config: DictConfig) -> bool:
        """Notes where a job and its references are recorded.

        config: with Hydra's own node
        Returns whether the job's record is there already, and only read.
        """
        from tadrop.app.runs.run import reference_configs
        from tadrop.app.schema.values import resolved
        from tadrop.results import record

        names = [name for name in map(str, config) if name != "hydra"]
        cfg = OmegaConf.masked_copy(config, names)
        job, folder = resolved(cfg), Path(config.paths.records)
        file = record.path(folder, job)
        for reference in map(resolved, reference_configs(cfg)):
            self.records[record.path(folder, reference)] = None
        self.records[file] = None
        return file.exists() and not job["overwrite"]

    def on_job_start(
        self,
        config: DictConfig,
        **kwargs: Any,
    ) -> None:
        from tadrop.app import console
        from tadrop.app.terminal.loading import loading

        if self.total is None:  # one run, or a sweeper that does not say how many
            return
        is_worker = self.process != os.getpid()
        with nullcontext() if is_worker else loading():
            import tadrop.app.runs.run  # noqa: F401  # and torch with it, for `note`

        self.recorded = self.note(config)
        number = config.hydra.job.num
        varied = varied_words(config.hydra.overrides.task, self.varied)
        counts = dict(self.counts)
        place = console.Position(number + 1, self.total, counts, varied, is_worker)
        console.position.set(place)
        if is_worker and os.getpid() not in SETTLED:
            SETTLED.add(os.getpid())
            take_gpu(number)

    def on_job_end(
        self, config: DictConfig, job_return: JobReturn, **kwargs: Any
    ) -> None:
        if self.process != os.getpid():
            return
        if job_return.status is not JobStatus.COMPLETED:
            self.counts["failed"] += 1
        else:
            self.counts["skipped" if self.recorded else "done"] += 1
        if self.counts.total() == self.total:
            self.end()

    def end(self) -> None:
        """Says what became of all jobs, once the last has ended."""
        from tadrop.app import console

        console.position.set(None)
        line = f"sweep: {console.counted(self.counts.total(), self.counts)}"
        if self.counts["failed"]:
            line += "; the same command runs what failed again"
        console.err.print(line, soft_wrap=True)
        if self.counts["failed"]:
            self.leave()

    def leave(self) -> None:
        """Ends a sweep of which jobs have failed, with the table of the others.

        Each failure has been told; Hydra would tell the first again, with a traceback.
        """
        self.show_tables()
        sys.exit(1)
