"""A board: a file of conf/board, and the words of the command line beside it.

Its runs are those of the sweep that the same command makes, in the sweeper's order.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from tadrop.app.boards import composing
from tadrop.app.boards.catalogue import BOARDS, board_names
from tadrop.app.boards.words import key_of, latest, spelled, spoken, without
from tadrop.app.runs.run import REFERENCE, reference_configs
from tadrop.app.schema.values import resolved
from tadrop.errors import TadropError
from tadrop.results.identity import is_random, tadrop

Config = Mapping[str, Any]
# The choices that a board may leave open.
SUITE = ("model", "tasks")
# What a reference chooses for itself, whatever the rows of its board choose.
OF_ROWS = ("merge", *REFERENCE)
# The parts of a board's file that set nothing in its runs.
APART = ("board", "defaults", "hydra", "references")


@cache
def _file(name: str) -> dict[str, Any]:
    """The file of a board."""
    return yaml.safe_load((BOARDS / f"{name}.yaml").read_text(encoding="utf-8"))


def said(name: str) -> dict[str, Any]:
    """What a board's file says of it under `board:`.

    file: the beginning of the name of what is written, where the board is for any task
    set; tasks: the number of tasks that it is for; ranked: best method first
    """
    return _file(name).get("board", {})


def check(cfg: DictConfig) -> None:
    """Raises TadropError for a configuration whose board is for fewer or more tasks."""
    wanted = (cfg.get("board") or {}).get("tasks")
    count = len(cfg.tasks.names)
    if wanted is not None and wanted != count:
        raise TadropError(
            f"this board is for {wanted} tasks, and {cfg.tasks.name} has {count}; "
            "say tasks=NAME"
        )


@dataclass(frozen=True)
class Run:
    """One run of a board.

    config: resolved
    words: the overrides of its job, the board's name among them
    reference: whether it is one of those that every table starts with
    needed: false for a run that is only compared with, where it is recorded
    """

    config: Config
    words: Sequence[str]
    reference: bool = False
    needed: bool = True


@dataclass(frozen=True)
class Board:
    """A set of rows on a task set. words: of the command line beside its name."""

    name: str
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = board_names()
        if self.name not in known:
            raise TadropError(
                f"no board is called {self.name!r}; there are {', '.join(known)}"
            )

    @property
    def about(self) -> str:
        """What the board is, in the words of its file."""
        return comment(BOARDS / f"{self.name}.yaml")

    @property
    def command(self) -> str:
        """What makes the records of the board."""
        return _command([f"+board={self.name}", *self.words])

    @cached_property
    def sweep(self) -> DictConfig:
        """The configuration that the sweep starts from, with Hydra's node."""
        fixed = composing.without_sweeps(self.words)
        return composing.configured([f"+board={self.name}", *fixed], with_hydra=True)

    @property
    def is_open(self) -> bool:
        """Whether the board is for any model and task set, or for those of its file."""
        return "file" in said(self.name)

    @property
    def is_ranked(self) -> bool:
        """Whether its table has the best method first: a leaderboard."""
        return said(self.name).get("ranked", False)

    @property
    def file(self) -> str:
        """The name of what is written of the board.

        That of an open board names the task set, and a model that is a guest there.
        """
        return self._named(self.sweep.tasks.name)

    @property
    def across(self) -> str:
        """The name of what is written of the board on all task sets together."""
        return self._named("tasks")

    def _named(self, subject: str) -> str:
        if not self.is_open:
            return self.name
        parts = [said(self.name)["file"], subject]
        if not self.at_home:
            parts.append(self.sweep.model.name)
        return "_".join(parts)

    @property
    def at_home(self) -> bool:
        """Whether the task set calls the model its home."""
        return self.sweep.tasks.get("home") == self.sweep.model.name

    def choice(self, group: str) -> str:
        """The file that is chosen of a group."""
        return self.sweep.hydra.runtime.choices[group]

    def on_each_task_set(self) -> "list[Board]":
        """One board for each model and task set, where the words sweep over them."""
        if not self.is_open:
            return [self]
        suite: list[str] = []
        rest: list[str] = []
        for word in self.words:
            part = suite if key_of(word) in SUITE else rest
            part.append(word)
        boards: list[Board] = []
        for words in composing.batches(suite):
            boards.append(Board(self.name, (*words, *rest)))
        return boards

    @cached_property
    def overrides(self) -> list[list[str]]:
        """The overrides of each job, in the sweeper's order."""
        swept = spelled(resolved(self.sweep.hydra.sweeper.params))
        return composing.batches([*swept, f"+board={self.name}", *self.words])

    @property
    def least(self) -> int:
        """A number of runs that the board has at least: its methods and variants."""
        rows: set[tuple[str | None, str | None]] = set()
        for words in self.overrides:
            by_key = dict(zip(map(key_of, words), words, strict=True))
            rows.add((by_key.get("merge"), by_key.get("tadrop")))
        return len(rows)

    def jobs(self) -> Iterator[tuple[DictConfig, list[str]]]:
        """Each job's configuration, and the overrides that make it."""
        for words in self.overrides:
            yield composing.configured(words), words

    def runs(self) -> Iterator[Run]:
        """Every run that the board needs, each job's after the references it needs.

        Of jobs that differ in the seed alone, and in which no node takes it, there is
        one run.
        """
        referred: set[tuple[str, ...]] = set()
        seedless: set[tuple[str, ...]] = set()
        for words in self.overrides:
            choices = tuple(without(words, ["seed"]))
            if choices in seedless:
                continue
            composed = composing.configured(words)
            config = resolved(composed)
            if not is_random(config):
                seedless.add(choices)
            shared = tuple(without(words, OF_ROWS))
            if shared not in referred:
                referred.add(shared)
                yield from _references(composed, words)
            yield Run(config, words)

    def compared(self) -> Iterator[Run]:
        """The runs, and before each with TADrop the same one without it.

        A board that sweeps TADrop alone is compared all the same, with plain rows where
        they are recorded.
        """
        for run in self.runs():
            if tadrop(run.config) is not None:
                words = [*without(run.words, ["tadrop"]), "tadrop=off"]
                yield Run({**run.config, "tadrop": None}, words, needed=False)
            yield run

    def command_of(self, run: Run) -> str:
        """The command of one run alone, with the board's choices spelled out."""
        values: dict[str, Any] = {}
        for group in SUITE:
            values[group] = self.choice(group)
        for name, value in _file(self.name).items():
            if name not in APART:
                values[name] = value
        words = latest([*spelled(values), *run.words])
        if run.reference:
            row = [f"merge={run.config['merge']['name']}", "tadrop=off"]
            words = [*without(words, OF_ROWS), *row]
        return _command(spoken(words))


def _command(words: Sequence[str]) -> str:
    return "python run.py " + shlex.join(words)


def _references(cfg: DictConfig, words: Sequence[str]) -> Iterator[Run]:
    """The runs that the table of a job starts with."""
    for reference in reference_configs(cfg):
        yield Run(resolved(reference), words, reference=True)


def comment(path: Path) -> str:
    """What the comment lines of a YAML file say;
    nothing of a file that is not there.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    comments: list[str] = []
    for line in lines:
        if line.startswith("#") and "@package" not in line:
            comments.append(line.lstrip("# "))
    return " ".join(comments)
