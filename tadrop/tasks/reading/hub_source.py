"""Image data in the hub's layout: in a local folder, in the hub library's cache, or on
the hub itself.

Parquet files and WebDataset's tar archives are read here. Those of a split are
downloaded into the hub library's cache; for a sample of parquet files only the row
groups that hold it are, into the suite's own cache. Files of other kinds are left to
the `datasets` library, which streams them from the hub each time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np

from tadrop.storage.bars import bar
from tadrop.storage.checkpoint import first_line
from tadrop.storage.data_card import SUFFIXES, DataCard, read_card, split_files
from tadrop.storage.data_files import ParquetFile, kept_names, tar_rows
from tadrop.storage.repository import NOTED, Repository
from tadrop.tasks.reading.cells import class_number, encoded
from tadrop.tasks.reading.images import Row
from tadrop.tasks.reading.sampling import sample, scattered, usable
from tadrop.types import TadropError


@dataclass(frozen=True)
class HubSource:
    """A data set in a local folder of the hub's layout, or on the hub.

    place:        the folder, or org/name
    stamp:        changes when the data do
    image, label: the names of the columns
    splits:       what the data set calls a split, where that is not its own name
    repository:   where its files are
    parts:        where row groups are kept of files that a sample is read of; None where
                  files are downloaded whole
    """

    place: str
    stamp: Any
    config: str | None
    revision: str | None
    image: str
    label: str
    splits: Mapping[str, str]
    repository: Repository | None = field(default=None, compare=False)
    parts: Path | None = field(default=None, compare=False)

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: it names them in a cache."""
        return {
            "place": self.place,
            "stamp": self.stamp,
            "config": self.config,
            "revision": self.revision,
            "image": self.image,
            "label": self.label,
            "splits": self.splits,
        }

    def missing(self, split: str) -> list[str]:
        """The files of a split that are not on this machine, not even in parts."""
        kept = kept_names(self.parts) if self.parts else ()
        absent = []
        for name in self._files(split):
            if self._repository.at_hand(name) is None and name not in kept:
                absent.append(name)
        return absent

    def class_names(self) -> list[str] | None:
        """The names of the label column, if it has them."""
        names = self._card.class_names(self.config, self.label)
        files = self._files("test")
        if names is not None or _all_end(files, ".tar"):
            return names
        parquet = self._parquet("test")
        if not parquet:
            return self._streamed_names()
        with self._readable("test"), self._reader(parquet[0]) as reader:
            return reader.class_names(self.label)

    def rows(self, split: str, limit: int | None) -> Iterator[Row]:
        """(encoded image, label): all of a split, or a seeded sample of it.

        For a sample of parquet files only some of their row groups are read.
        """
        inside = bool(self._files(split))
        for number, row in enumerate(self._chosen(split, limit)):
            try:
                data = encoded(row[self.image], inside)
                label = class_number(row[self.label])
            except (OSError, TypeError, ValueError, KeyError) as error:
                raise TadropError(
                    f"{self._split(split)}, row {number}: column {self.image!r} is no "
                    f"encoded image, or {self.label!r} no class number "
                    f"({first_line(error)}); name the columns in the task's entry"
                ) from error
            yield Row(data, label)

    @property
    def _repository(self) -> Repository:
        if self.repository is None:
            raise RuntimeError(f"{self.place} was made without a repository")
        return self.repository

    @property
    def _columns(self) -> tuple[str, str]:
        return self.image, self.label

    @cached_property
    def _card(self) -> DataCard:
        """The header of the README.md, if there is one."""
        if "README.md" not in self._repository.names:
            return DataCard({})
        text = self._repository.file("README.md").read_text(errors="replace")
        return read_card(text)

    def _name(self, split: str) -> str:
        """What the data set calls a split; validation is a part of train."""
        wanted = "train" if split == "validation" else split
        return self.splits.get(wanted, wanted)

    def _files(self, split: str) -> list[str]:
        """The split's parquet files or tar archives; empty where it has others."""
        names = self._repository.names
        if self.parts is not None:
            names = tuple(dict.fromkeys((*names, *kept_names(self.parts))))
        try:
            files = split_files(names, self._card, self.config, self._name(split))
        except TadropError as error:
            raise TadropError(f"{self._split(split)}: {error}") from error
        if not files and not self._repository.complete and _only_notes(names):
            raise self._repository.without(f"split {self._name(split)!r}")
        return files

    def _parquet(self, split: str) -> list[str]:
        """The split's files, if they are parquet."""
        files = self._files(split)
        return files if _all_end(files, ".parquet") else []

    def _split(self, split: str) -> str:
        """A split in words."""
        return f"{self.place}, split {self._name(split)!r}"

    def _reader(self, name: str) -> ParquetFile:
        """A parquet file that has the two columns."""
        with ExitStack() as opened:
            reader = ParquetFile(self._repository, name, self.parts)
            opened.enter_context(reader)
            self._check_columns(reader.columns())
            opened.pop_all()
        return reader

    def _chosen(self, split: str, limit: int | None) -> Iterable[Mapping[str, Any]]:
        """The rows of a split, or a sample of them."""
        files = self._parquet(split)
        if files and limit is not None:
            return self._scattered(files, split, limit)
        if files:
            return self._whole(files, split)
        if archives := self._files(split):
            return self._picked(partial(self._archived, archives), split, limit)
        return self._picked(partial(self._load, split), split, limit)

    def _whole(self, files: Sequence[str], split: str) -> Iterator[Mapping[str, Any]]:
        """All rows of a split of parquet files, which are downloaded if need be."""
        with ExitStack() as opened, self._readable(split):
            readers = [opened.enter_context(self._reader(name)) for name in files]
            count = sum(sum(reader.sizes()) for reader in readers)
            wanted = np.zeros(count, dtype=bool)
            wanted[usable(count, split)] = True
            rows = chain.from_iterable(reader.rows(self._columns) for reader in readers)
            yield from compress(rows, wanted)

    def _scattered(
        self, files: Sequence[str], split: str, limit: int
    ) -> Iterator[Mapping[str, Any]]:
        """A seeded sample: only the row groups are read of which it has rows."""
        groups, sizes = [], []
        with ExitStack() as opened, self._readable(split):
            for name in files:
                reader = opened.enter_context(self._reader(name))
                for number, size in enumerate(reader.sizes()):
                    groups.append((reader, number))
                    sizes.append(size)
            chosen = scattered(sizes, usable(sum(sizes), split), limit)
            tick = bar(f"{self.place}, parts", len(chosen))
            for group, rows in chosen:
                reader, number = groups[group]
                yield from reader.group(number, self._columns).take(rows).to_pylist()
                tick()

    @contextmanager
    def _readable(self, split: str) -> Iterator[None]:
        """Turns what pyarrow raises into one TadropError that names the split."""
        try:
            yield
        except (OSError, ValueError) as error:  # pyarrow's exceptions are of these
            reason = first_line(error)
            raise TadropError(
                f"{self._split(split)}: cannot be read ({reason})"
            ) from error

    def _archived(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """All rows of tar archives, which are downloaded if need be."""
        for name in names:
            for row in tar_rows(self._repository.file(name)):
                self._check_columns(row)
                yield row

    def _picked(
        self,
        read: Callable[[], Iterable[Mapping[str, Any]]],
        split: str,
        limit: int | None,
    ) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, or a sample of them, read from end to end."""
        if split == "test" and limit is None:
            yield from read()
            return
        count = sum(1 for _ in read())
        chosen = usable(count, split)
        if limit is not None:
            chosen = chosen[sample(len(chosen), limit)]
        wanted = set(chosen.tolist())
        for at, row in enumerate(read()):
            if at in wanted:
                yield row

    def _check_columns(self, features: Iterable[str]) -> None:
        for column in self._columns:
            if column not in features:
                raise TadropError(
                    f"{self.place}: no column {column!r}; it has {', '.join(features)}"
                )

    def _load(self, split: str) -> Any:
        """The two columns of files of other kinds, images as they are encoded."""
        from datasets import Image, load_dataset
        from datasets.utils.logging import disable_progress_bar

        disable_progress_bar()
        try:
            folder = self._repository.folder
            data: Any = load_dataset(
                self.place if folder is None else str(folder),
                self.config,
                split=self._name(split),
                revision=self.revision if folder is None else None,
                streaming=True,
            )
            features = data.features or data._resolve_features().features
            self._check_columns(features)
            columns = data.select_columns([self.image, self.label])
            return columns.cast_column(self.image, Image(decode=False))
        except TadropError:
            raise
        # The library's exceptions are of many kinds; to the user they all mean the same.
        except Exception as error:
            raise TadropError(
                f"{self._split(split)}: not a readable data set ({first_line(error)})"
            ) from error

    def _streamed_names(self) -> list[str] | None:
        """The class names of files of other kinds."""
        from datasets import ClassLabel

        feature = self._load("test").features[self.label]
        return list(feature.names) if isinstance(feature, ClassLabel) else None


def _only_notes(names: Sequence[str]) -> bool:
    """Whether there are no data among the files, as where others have to come yet."""
    data = [name for name in names if not name.startswith(".") and name not in NOTED]
    return not data or any(name.endswith(SUFFIXES) for name in data)


def _all_end(names: Sequence[str], suffix: str) -> bool:
    return bool(names) and all(name.endswith(suffix) for name in names)
