"""A board: a file of conf/board, and the words of the command line beside it.

Its runs are those of the sweep that the same command makes, in the sweeper's order.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from tadrop.app.boards import composing
from tadrop.app.boards.catalogue import BOARDS
from tadrop.app.runs.run import REFERENCE
from tadrop.errors import TadropError
from tadrop.results.identity import takes_seed

Config = Mapping[str, Any]
# The order in which a command names the choices of a run; other words follow.
SPOKEN = ("model", "tasks", "merge", "tadrop")
# What a reference chooses for itself, whatever the rows of its board choose.
OF_ROWS = ("merge", *REFERENCE)


def names() -> list[str]:
    """The boards there are."""
    return sorted(path.stem for path in BOARDS.glob("*.yaml"))


def check(cfg: DictConfig) -> None:
    """Raises TadropError for a configuration whose board is for fewer or more tasks."""
    wanted, count = (cfg.get("board") or {}).get("tasks"), len(cfg.tasks.names)
    if wanted is not None and wanted != count:
        raise TadropError(
            f"this board is for {wanted} tasks, and {cfg.tasks.name} has {count}; "
            "say tasks=NAME"
        )


@lru_cache(maxsize=None)
def _file(name: str) -> dict[str, Any]:
    """The file of a board."""
    return yaml.safe_load((BOARDS / f"{name}.yaml").read_text(encoding="utf-8"))


def said(name: str) -> dict[str, Any]:
    """What a board's file says of it under `board:`."""
    return _file(name).get("board", {})


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
        if self.name not in names():
            raise TadropError(
                f"no board is called {self.name!r}; there are {', '.join(names())}"
            )

    @property
    def about(self) -> str:
        """What the board is, in the words of its file."""
        return comment(BOARDS / f"{self.name}.yaml")

    @property
    def command(self) -> str:
        """What makes the records of the board."""
        return "python run.py " + shlex.join((f"+board={self.name}", *self.words))

    @cached_property
    def sweep(self) -> DictConfig:
        """The configuration that the sweep starts from, with Hydra's node."""
        fixed = composing.without_sweeps(self.words)
        return composing.configured([f"+board={self.name}", *fixed], hydra=True)

    @property
    def file(self) -> str:
        """The name of what is written of the board.

        It is the board's own, unless the board is for any task set of some kind: then
        it names the task set, and the model too, unless the task set calls it home.
        """
        return self._named(self.sweep.tasks.name)

    @property
    def across(self) -> str:
        """The name of what is written of the board on all task sets together."""
        return self._named("tasks")

    def _named(self, subject: str) -> str:
        prefix = self._says("file")
        if prefix is None:
            return self.name
        suffix = "" if self.at_home else f"_{self.sweep.model.name}"
        return f"{prefix}_{subject}{suffix}"

    @property
    def at_home(self) -> bool:
        """Whether the model is the one that the task set calls home."""
        return self.sweep.tasks.get("home") == self.sweep.model.name

    @property
    def choices(self) -> dict[str, str]:
        """The choices of model and task set, where the board leaves them open.

        Words that change them make it no other board.
        """
        if self._says("file") is None:
            return {}
        return {group: self._choice(group) for group in ("model", "tasks")}

    def _choice(self, group: str) -> str:
        """The file that is chosen of a group."""
        return self.sweep.hydra.runtime.choices[group]

    @property
    def is_ranked(self) -> bool:
        """Whether its table has the best method first: a leaderboard."""
        return bool(self._says("ranked"))

    def _says(self, word: str) -> Any:
        return said(self.name).get(word)

    def on_each_task_set(self) -> list["Board"]:
        """One board for each model and task set, where the words sweep over them."""
        if self._says("file") is None:
            return [self]
        swept: list[str] = []
        rest: list[str] = []
        for word in self.words:
            over = swept if _key(word) in ("model", "tasks") else rest
            over.append(word)
        return [Board(self.name, (*job, *rest)) for job in composing.batches(swept)]

    @cached_property
    def overrides(self) -> list[list[str]]:
        """The overrides of each job, in the sweeper's order."""
        params = OmegaConf.to_container(self.sweep.hydra.sweeper.params, resolve=True)
        swept = [f"{key}={value}" for key, value in params.items()]
        return composing.batches([*swept, f"+board={self.name}", *self.words])

    @property
    def least(self) -> int:
        """A number of runs that the board has at least: its methods and variants."""
        rows: set[tuple[str, ...]] = set()
        for words in self.overrides:
            rows.add(tuple(word for word in words if _key(word) in ("merge", "tadrop")))
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
            choices = tuple(word for word in words if _key(word) != "seed")
            if choices in seedless:
                continue
            config = OmegaConf.to_container(composing.configured(words), resolve=True)
            nodes = [node for name, node in config.items() if name != "seed"]
            if not takes_seed(nodes):
                seedless.add(choices)
            shared = tuple(word for word in words if _group(word) not in OF_ROWS)
            if shared not in referred:
                referred.add(shared)
                yield from _references(config, words)
            yield Run(config, words)

    def compared(self) -> Iterator[Run]:
        """The runs, and before each with TADrop the same one without it.

        A board that sweeps TADrop alone is compared all the same, with plain rows where
        they are recorded.
        """
        for run in self.runs():
            if run.config["tadrop"] is not None:
                words = [word for word in run.words if _group(word) != "tadrop"]
                plain = {**run.config, "tadrop": None}
                yield Run(plain, [*words, "tadrop=off"], needed=False)
            yield run

    def command_of(self, run: Run) -> str:
        """The command of one run alone, with the board's choices spelled out."""
        return "python run.py " + shlex.join(self._alone(run))

    def _alone(self, run: Run) -> list[str]:
        """The words that make one run without its board."""
        words = dict.fromkeys(("model", "tasks"), "")
        for group in words:
            words[group] = f"{group}={self._choice(group)}"
        for key, value in _file(self.name).items():
            if key not in ("board", "defaults", "hydra"):
                words[key] = f"{key}={value}"
        for word in run.words:
            words[_key(word)] = word
        if run.reference:
            words = {key: word for key, word in words.items() if _group(word) not in OF_ROWS}
            words["merge"] = f"merge={run.config['merge']['name']}"
            words["tadrop"] = "tadrop=off"
        return spoken(words.values())


def _references(config: Config, words: Sequence[str]) -> Iterator[Run]:
    """The runs that the table of a job starts with."""
    for row in config["references"].values():
        yield Run({**config, **REFERENCE, "merge": row}, words, reference=True)


def _key(word: str) -> str:
    """What an override changes."""
    return word.partition("=")[0]


def _group(word: str) -> str:
    """The group that an override changes, or the first part of a value's path."""
    return _key(word).partition(".")[0]


def spoken(words: Iterable[str]) -> list[str]:
    """A job's words without its board, in the order in which a command has them."""
    return sorted((word for word in words if _group(word) != "+board"), key=_place)


def _place(word: str) -> int:
    """Where a word stands in a command."""
    key = _key(word)
    return SPOKEN.index(key) if key in SPOKEN else len(SPOKEN)


def comment(path: Path) -> str:
    """What the comment lines of a YAML file say; nothing of a file that is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    said = []
    for line in lines:
        if line.startswith("#") and "@package" not in line:
            said.append(line.lstrip("# "))
    return " ".join(said)
