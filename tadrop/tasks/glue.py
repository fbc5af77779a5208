"""Text classification from parquet files: GLUE (Wang et al., arXiv 1804.07461) and
whatever is laid out like it.

Texts are tokenised once by the model's own tokenizer, pairs as its two segments, and
cached under the content of the files and of the tokenizer. Batches hold texts of like
length and are padded to their longest only: a causal model, or one that masks padding,
gives the logits it would give at any other length. Every example keeps its place in an
order that depends on the data alone (by length, ties in the files' order), so results
of two runs can be paired.

The reported split is the one the source calls `test` (GLUE's labelled validation
split). What the suite calls validation is the source's own, or a tenth of its training
split: held out here, but models from elsewhere were trained on it.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics.seeds import generator
from tadrop.storage.checkpoint import sha256
from tadrop.storage.files import write_tensors
from tadrop.storage.hub import resolve
from tadrop.tasks.checks import (
    check_limit,
    differing,
    known_names,
    not_at_hand,
    refuse,
)
from tadrop.types import TadropError

# part of every cache key and of the protocol: raise it when tokens or splits change
VERSION = 1
TOKENIZER_FILES = (
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
    "*.spm",
)
HELD_OUT, MOST_HELD_OUT = (
    0.1,
    2000,
)  # of a training split, where a source has no validation split of its own


def matthews(predicted: np.ndarray, labels: np.ndarray) -> Mapping[str, float]:
    """Matthews' correlation of two classes; 0 where it is not defined."""
    table = np.array(
        [[np.sum((predicted == p) & (labels == y)) for y in (0, 1)] for p in (0, 1)],
        dtype=np.float64,
    )
    (tn, fn), (fp, tp) = table
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {"Matthews correlation": float((tp * tn - fp * fn) / norm) if norm else 0.0}


def correlation(predicted: np.ndarray, values: np.ndarray) -> Mapping[str, float]:
    """The mean of Pearson's and Spearman's correlation; 0 where they are not defined."""
    from scipy.stats import rankdata

    if predicted.std() == 0 or values.std() == 0:
        return {"correlation": 0.0}
    pearson = float(np.corrcoef(predicted, values)[0, 1])
    spearman = float(np.corrcoef(rankdata(predicted), rankdata(values))[0, 1])
    return {
        "correlation": (pearson + spearman) / 2,
        "Pearson": pearson,
        "Spearman": spearman,
    }


METRICS = {"matthews": matthews, "correlation": correlation}


@dataclass(frozen=True)
class Source:
    """Where one task's texts are: {data}/{folder}/{split}-*.parquet with text columns
    and an integer column `label`.

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
                f"no metric is called {self.metric!r}; there are accuracy, {', '.join(METRICS)}"
            )

    def files(self, split: str, hub: str | None) -> tuple[Path, ...]:
        """The parquet files of a split as the source names it."""
        folder = (
            resolve("datasets", self.data, hub, [f"{self.folder}/*.parquet"])
            / self.folder
        )
        found = tuple(sorted(folder.glob(f"{split}-*.parquet")))
        if not found:
            there = (
                ", ".join(
                    sorted({f.name.split("-")[0] for f in folder.glob("*.parquet")})
                )
                or "no parquet file"
            )
            raise TadropError(f"{folder}: no {split}-*.parquet; there is {there}")
        return found

    def odd(self, task: str, split: str, labels: Tensor) -> list[str]:
        """What of a whole split is not as it officially is."""
        classes = None if self.classes is None else len(labels.unique())
        return differing(
            task,
            {
                f"{split} rows": (len(labels), self.rows.get(split)),
                "classes": (classes, self.classes),
            },
        )


class Tokens(NamedTuple):
    """Token ids of all rows, one after the other; ends[i] is where row i stops; labels
    are class numbers.
    """

    ids: Tensor
    ends: Tensor
    labels: Tensor

    def select(self, rows: np.ndarray) -> "Tokens":
        starts = np.concatenate([[0], self.ends.numpy()[:-1]])
        parts = [self.ids[starts[row] : self.ends[row]] for row in rows]
        lengths = torch.tensor([len(p) for p in parts])
        return Tokens(
            torch.cat(parts), lengths.cumsum(0), self.labels[torch.from_numpy(rows)]
        )


def read_rows(
    files: Sequence[Path], columns: Sequence[str]
) -> tuple[list[list[str]], np.ndarray]:
    """The text columns as lists, and the labels. Raises TadropError naming the file and
    column that do not fit.
    """
    import pyarrow.parquet as pq

    texts, labels = [[] for _ in columns], []
    for file in files:
        try:
            table = pq.read_table(file)
        except (
            Exception
        ) as error:  # arrow's errors are many; to the reader they are one
            raise TadropError(
                f"{file}: not a readable parquet file ({error})"
            ) from error
        if missing := [
            column for column in (*columns, "label") if column not in table.column_names
        ]:
            raise TadropError(
                f"{file}: no column called {missing[0]}; there are {', '.join(table.column_names)}"
            )
        for texts_of_column, column in zip(texts, columns, strict=True):
            texts_of_column += table.column(column).to_pylist()
        labels += table.column("label").to_pylist()
    values = np.array(labels)
    if values.dtype.kind not in "if" or (
        values.dtype.kind == "i" and values.min(initial=0) < 0
    ):
        raise TadropError(
            f"{files[0]}: labels must be class numbers from 0; a hidden test split has none"
        )
    return texts, values


def tokenizer_fingerprint(folder: Path) -> str:
    """A hash of the tokenizer's files. Raises TadropError if there are none."""
    files = sorted(
        {file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)}
    )
    if not files:
        raise TadropError(
            f"{folder}: no tokenizer in this directory (tokenizer.json, or vocab.json and merges.txt)"
        )
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()[
        :16
    ]


def tokenise(
    texts: Sequence[Sequence[str]], folder: Path, max_length: int
) -> list[list[int]]:
    """Token ids of every row, without padding; two columns are a pair."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise TadropError(
            f"{folder}: its tokenizer cannot be loaded ({error})"
        ) from error
    return tokenizer(*texts, truncation=True, max_length=max_length)["input_ids"]


@functools.cache
def load(
    files: tuple[Path, ...],
    columns: tuple[str, ...],
    folder: Path,
    max_length: int,
    cache: Path | None,
) -> Tokens:
    """A split's tokens, from this process's memory, the cache folder, or made anew and
    put there.
    """
    from safetensors.torch import load_file
    from transformers import __version__

    content = [
        VERSION,
        __version__,
        columns,
        max_length,
        tokenizer_fingerprint(folder),
        *map(sha256, files),
    ]
    key = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    path = None if cache is None else cache / "text" / f"{key}.safetensors"
    if path is not None and path.exists():
        return Tokens(**load_file(path))
    texts, labels = read_rows(files, columns)
    rows = tokenise(texts, folder, max_length)
    if not all(rows):
        raise TadropError(
            f"{files[0]}: row {next(i for i, r in enumerate(rows) if not r)} is an empty text"
        )
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.from_numpy(
        np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    )
    tokens = Tokens(ids, lengths.cumsum(0), torch.from_numpy(labels))
    if path is not None:
        write_tensors(path, tokens._asdict())
    return tokens


def buckets(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Rows in order of length, in batches of at most `budget` tokens after padding (a
    longer row is alone).
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or lengths[order[stop]] * (stop + 1 - start) > budget:
            yield order[start:stop]
            start = stop


def pad(tokens: Tokens, rows: np.ndarray) -> Tensor:
    """The rows' token ids [batch, length], -1 after the end of each."""
    ends = tokens.ends.numpy()
    starts = np.concatenate([[0], ends[:-1]])
    ids = np.full((len(rows), int((ends - starts)[rows].max())), -1, dtype=np.int64)
    flat = tokens.ids.numpy()
    for line, row in zip(ids, rows, strict=True):
        line[: ends[row] - starts[row]] = flat[starts[row] : ends[row]]
    return torch.from_numpy(ids)


@dataclass(frozen=True)
class TextTasks:
    """Text tasks as the evaluator sees them.

    tokenizer: a folder or hub id; batch: tokens in a batch, padding included; limit:
    only so many rows of each split
    strict:    whether the official numbers of rows and classes must hold; the protocol says where they do not
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

    def source(self, task: str) -> Source:
        try:
            return Source(**self.sources[task])
        except TypeError as error:
            raise TadropError(f"tasks.sources.{task}: {error}") from error

    def _whole(self, task: str, split: str) -> Tokens:
        """A split as the source names it. Raises TadropError where it is not the
        official one, if strict.
        """
        source = self.source(task)
        folder = resolve("models", self.tokenizer, self.hub_dir)
        cache = Path(self.cache) if self.cache else None
        files = source.files(split, self.hub_dir)
        tokens = load(files, tuple(source.columns), folder, self.max_length, cache)
        refuse(files[0].parent, source.odd(task, split, tokens.labels), self.strict)
        return tokens

    def tokens(self, task: str, split: str) -> Tokens:
        """A split as the suite names it: train, validation or test."""
        source = self.source(task)
        if split == "test":
            return self._limited(self._whole(task, source.test))
        if split == "validation" and source.validation:
            return self._limited(self._whole(task, source.validation))
        whole = self._whole(task, source.train)
        if source.validation:
            return self._limited(whole)
        count = len(whole.labels)
        held_out = np.zeros(count, dtype=bool)
        size = min(round(HELD_OUT * count), MOST_HELD_OUT)
        held_out[
            generator("glue", VERSION, task, "validation").permutation(count)[:size]
        ] = True
        return self._limited(
            whole.select(
                np.flatnonzero(held_out if split == "validation" else ~held_out)
            )
        )

    def _limited(self, tokens: Tokens) -> Tokens:
        return (
            tokens
            if self.limit is None
            else tokens.select(np.arange(min(self.limit, len(tokens.labels))))
        )

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(token ids [batch, length] with -1 after the end, labels [batch]), shortest
        texts first.

        Labels are integers where accuracy is asked for, float32 for the metrics of
        whole splits.
        """
        tokens = self.tokens(task, split)
        labels = (
            tokens.labels.float()
            if self.source(task).metric in METRICS
            else tokens.labels
        )
        for rows in buckets(np.diff(tokens.ends.numpy(), prepend=0), self.batch):
            yield pad(tokens, rows), labels[torch.from_numpy(rows)]

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's; with float targets the prediction
        and the target, [batch, 2].
        """
        predicted = outputs.squeeze(1) if outputs.shape[1] == 1 else outputs.argmax(1)
        return (
            torch.stack([predicted, targets], 1)
            if targets.is_floating_point()
            else predicted == targets
        )

    def measure(
        self, task: str, split: str, kept: Tensor
    ) -> Mapping[str, float] | None:
        """Correlations of predictions and targets; None where accuracy is asked for."""
        metric = METRICS.get(self.source(task).metric)
        return None if metric is None else metric(*kept.double().numpy().T)

    def needs(self) -> list[str]:
        """The data sets that are in no local folder, a line each."""
        references = {task: self.source(task).data for task in self.names}
        return not_at_hand(references, self.hub_dir)

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of the token ids and labels themselves, 16 hex digits."""
        tokens = self.tokens(task, split)
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in tokens))
        return digest.hexdigest()[:16]

    @property
    def protocol(self) -> str:
        """The text version, splits that go by more than one name, and where the data
        are not the official ones.
        """
        words, odd = [f"text-{VERSION}"], []
        for task in self.names:
            source = self.source(task)
            if source.test not in ("test", "validation"):
                words.append(f"{task} {source.test}")
            odd += source.odd(task, source.test, self._whole(task, source.test).labels)
        return ", ".join([*words, f"cut ({', '.join(odd)})"] if odd else words)
