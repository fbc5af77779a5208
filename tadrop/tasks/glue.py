"""Text classification from parquet files: GLUE (Wang et al., arXiv 1804.07461) and
whatever is laid out like it.

Texts are tokenised once by the model's own tokenizer, pairs as its two segments, and
cached under the content of the files and of the tokenizer. Batches hold texts of like
length and are padded to their longest only: a causal model, or one that masks padding,
gives the logits it would give at any other length. Every example keeps its place in an
order that depends on the data alone (by length, ties in the files' order), so results
of two runs can be paired.

The reported split is the one the source calls `test` (GLUE's labelled validation
split). What is called validation here is the source's own, or a tenth of its training
split: held out here, but models from elsewhere were trained on it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics.seeds import generator
from tadrop.storage.data_card import check_shards
from tadrop.storage.hub import resolve
from tadrop.storage.repository import Repository, at_hand, find
from tadrop.tasks.checks import (
    check_limit,
    differing,
    known_names,
    needed,
    refuse,
)
from tadrop.tasks.metrics.correlations import METRICS
from tadrop.tasks.reading.registry import reported
from tadrop.tasks.reading.tokens import VERSION, Tokens, buckets, load, pad
from tadrop.types import Need, TadropError

if TYPE_CHECKING:
    from tadrop.protocols.tasks import ReportedTasks, Tasks

# The share of a training split that is held out, and its largest number of rows, where
# a source has no validation split of its own.
HELD_OUT, MOST_HELD_OUT = 0.1, 2000


@dataclass(frozen=True)
class TextSource:
    """Where one task's texts are: {data}/{folder}/{split}-*.parquet.

    The files have text columns and an integer column `label`.

    rows:    the official number of rows of a split, where there is one
    classes: the official number of classes
    metric:  accuracy, or a key of METRICS
    """

    data: str
    folder: str
    columns: Sequence[str]
    test: str = "test"
    train: str = "train"
    validation: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    classes: int | None = None
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        if self.metric not in ("accuracy", *METRICS):
            raise TadropError(
                f"no metric is called {self.metric!r}; "
                f"there are accuracy, {', '.join(METRICS)}"
            )

    def files(self, split: str, hub: str | None, task: str = "") -> tuple[Path, ...]:
        """The parquet files of a split as the source names it.

        They are downloaded if need be. task: who wants them, for an error
        """
        repository = self._repository(hub, task)
        names = self._names(repository.names, split)
        if not names:
            raise self._no_split(repository, split)
        return tuple(map(repository.file, names))

    def at_hand(self, hub: str | None) -> bool:
        """Whether the reported split is on this machine. Looking downloads nothing."""
        name, revision = self._address
        repository = at_hand("datasets", name, hub, revision)
        if repository is None:
            return False
        try:
            return bool(self._names(repository.names, self.test))
        except TadropError:  # shards are missing
            return False

    def pattern(self, split: str) -> str:
        """What the files of a split are called."""
        return f"{self.folder}/{split}-*.parquet"

    @property
    def _address(self) -> tuple[str, str | None]:
        """org/name or a folder, and the revision where one is pinned."""
        name, _, revision = self.data.partition("@")
        return name, revision or None

    def _repository(self, hub: str | None, task: str) -> Repository:
        name, revision = self._address
        return find("datasets", name, hub, f"task {task!r}", revision)

    def _names(self, names: Sequence[str], split: str) -> list[str]:
        """The files of a split. Raises TadropError where shards are missing."""
        pattern = self.pattern(split)
        files = [name for name in names if fnmatchcase(name, pattern)]
        check_shards(files)
        return files

    def _no_split(self, repository: Repository, split: str) -> TadropError:
        """The error about a split that the data set does not have."""
        if not repository.complete:
            return repository.without(self.pattern(split))
        splits = set()
        for name in repository.names:
            folder, _, file = name.rpartition("/")
            if folder == self.folder and file.endswith(".parquet"):
                splits.add(file.split("-")[0])
        there = ", ".join(sorted(splits)) or "no parquet file"
        place = f"{repository.place}/{self.folder}"
        return TadropError(f"{place}: no {split}-*.parquet; there is {there}")

    def odd(self, task: str, split: str, labels: Tensor) -> list[str]:
        """What of a whole split is not as it officially is."""
        classes = None if self.classes is None else len(labels.unique())
        counts = {
            f"{split} rows": (len(labels), self.rows.get(split)),
            "classes": (classes, self.classes),
        }
        return differing(task, counts)


@dataclass(frozen=True)
class TextTasks:
    """Text tasks as the evaluator sees them.

    sources:    where each task's texts are; see TextSource
    tokenizer:  a folder or hub id
    max_length: of a text, in tokens; longer ones are cut
    batch:      tokens in a batch, padding included
    limit:      only so many rows of each split
    strict:     whether the official numbers of rows and classes must hold; where they
                need not and do not, the protocol says so
    """

    names: Sequence[str]
    sources: Mapping[str, Mapping]
    tokenizer: str
    max_length: int = 512
    batch: int = 4096
    hub_dir: str | None = None
    cache: str | None = None
    limit: int | None = None
    strict: bool = False
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", known_names("text", self.names, self.sources))
        check_limit(self.limit)

    def source(self, task: str) -> TextSource:
        """Where a task's texts are."""
        try:
            return TextSource(**self.sources[task])
        except TypeError as error:
            raise TadropError(f"tasks.sources.{task}: {error}") from error

    def _whole(self, task: str, split: str) -> Tokens:
        """A split as the source names it.

        Raises TadropError where it is not the official one, if strict.
        """
        source = self.source(task)
        folder = resolve("models", self.tokenizer, self.hub_dir)
        cache = Path(self.cache) if self.cache else None
        files = source.files(split, self.hub_dir, task)
        tokens = load(files, tuple(source.columns), folder, self.max_length, cache)
        refuse(files[0].parent, source.odd(task, split, tokens.labels), self.strict)
        return tokens

    def tokens(self, task: str, split: str) -> Tokens:
        """A split by its name here: train, validation or test."""
        source = self.source(task)
        if split == "test":
            tokens = self._whole(task, source.test)
        elif split == "validation" and source.validation:
            tokens = self._whole(task, source.validation)
        else:
            tokens = self._whole(task, source.train)
            if not source.validation:
                tokens = _part_of_train(tokens, task, split)
        if self.limit is None:
            return tokens
        return tokens.select(np.arange(min(self.limit, len(tokens.labels))))

    def needs(self) -> list[Need]:
        """The data sets that are in no local folder."""
        found: list[Need] = []
        for task in self.names:
            source = self.source(task)
            if not source.at_hand(self.hub_dir):
                found.append(needed(task, source.data, source.pattern(source.test)))
        return found

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(token ids [batch, length] with -1 after the end, labels [batch]).

        The shortest texts come first. Labels are integers where accuracy is asked for,
        float32 for the metrics of whole splits.
        """
        tokens = self.tokens(task, split)
        labels = tokens.labels
        if self.source(task).metric in METRICS:
            labels = labels.float()
        for rows in buckets(np.diff(tokens.ends.numpy(), prepend=0), self.batch):
            yield pad(tokens, rows), labels[torch.from_numpy(rows)]

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's.

        With float targets it is the prediction and the target, [batch, 2].
        """
        predicted = outputs.squeeze(1) if outputs.shape[1] == 1 else outputs.argmax(1)
        if targets.is_floating_point():
            return torch.stack([predicted, targets], 1)
        return predicted == targets

    def measure(
        self, task: str, split: str, kept: Tensor
    ) -> Mapping[str, float] | None:
        """Correlations of predictions and targets; None where accuracy is asked for."""
        metric = METRICS.get(self.source(task).metric)
        return None if metric is None else metric(*kept.double().numpy().T)

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of the token ids and labels themselves, 16 hex digits."""
        digest = hashlib.sha256()
        for tensor in self.tokens(task, split):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def reported(self, model: str, experts: Mapping[str, str]) -> dict[str, float]:
        """Results in percent that the authors of these experts report, by task.

        A task whose data are a cut is left out.
        """
        measured: dict[str, tuple[str, str]] = {}
        for task in self.names:
            source = self.source(task)
            labels = self._whole(task, source.test).labels
            if not source.odd(task, source.test, labels):
                measured[task] = (source.test, source.metric)
        return reported(model, experts, measured)

    def protocol(self) -> str:
        """The version, splits that may go by another name, and unofficial data."""
        words, odd = [f"text-{VERSION}"], []
        for task in self.names:
            source = self.source(task)
            if source.test not in ("test", "validation"):
                words.append(f"{task} {source.test}")
            odd += source.odd(task, source.test, self._whole(task, source.test).labels)
        if odd:
            words.append(f"cut ({', '.join(odd)})")
        return ", ".join(words)


def _part_of_train(tokens: Tokens, task: str, split: str) -> Tokens:
    """The seeded tenth of a training split that is held out for validation,
    or the rest.
    """
    count = len(tokens.labels)
    size = min(round(HELD_OUT * count), MOST_HELD_OUT)
    order = generator("glue", VERSION, task, "validation").permutation(count)
    held_out = np.zeros(count, dtype=bool)
    held_out[order[:size]] = True
    return tokens.select(np.flatnonzero(held_out == (split == "validation")))


if TYPE_CHECKING:
    _family: type[Tasks] = TextTasks
    _reported: type[ReportedTasks] = TextTasks
