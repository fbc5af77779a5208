"""Image data in the hub's layout, from a local folder or from the hub itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrop.tasks.reading.sampling import sample, scattered, usable
from tadrop.types import TadropError


@dataclass(frozen=True)
class HubSource:
    """A data set in a local folder of the hub's layout, or on the hub.

    place:        the folder, or org/name
    stamp:        changes when the data do
    image, label: the names of the columns
    splits:       what the data set calls a split, where that is not its own name
    """

    place: str
    stamp: Any
    config: str | None
    revision: str | None
    image: str
    label: str
    splits: Mapping[str, str]

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

    def class_names(self) -> list[str] | None:
        """The names of the label column, if it has them."""
        from datasets import ClassLabel

        feature = self._load("test").features[self.label]
        return list(feature.names) if isinstance(feature, ClassLabel) else None

    def rows(self, split: str, limit: int | None) -> Iterator[tuple[bytes, int]]:
        """(encoded image, label): all of a split, or a seeded sample of it.

        For a sample of parquet files only some of their row groups are read.
        """
        for row in self._chosen(split, limit):
            encoded = row[self.image]
            image = encoded["bytes"] or Path(encoded["path"]).read_bytes()
            yield image, int(row[self.label])

    def _chosen(self, split: str, limit: int | None) -> Iterable[Mapping[str, Any]]:
        data = self._load(split)
        files = [] if limit is None else self._parquet(split)
        if limit is None or not files:
            return self._streamed(data, split, limit)
        return self._scattered(files, split, limit)

    def _name(self, split: str) -> str:
        """What the data set calls a split; validation is a part of train."""
        wanted = "train" if split == "validation" else split
        return self.splits.get(wanted, wanted)

    def _load(self, split: str) -> Any:
        """The two columns of a split as a stream, images as they are encoded."""
        from datasets import Image, load_dataset
        from datasets.utils.logging import disable_progress_bar

        disable_progress_bar()
        name = self._name(split)
        try:
            data: Any = load_dataset(
                self.place,
                self.config,
                split=name,
                revision=self.revision,
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
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TadropError(
                f"{self.place}, split {name!r}: not a readable data set ({reason})"
            ) from error

    def _check_columns(self, features: Iterable[str]) -> None:
        for column in (self.image, self.label):
            if column not in features:
                raise TadropError(
                    f"{self.place}: no column {column!r}; it has {', '.join(features)}"
                )

    def _streamed(
        self, data: Any, split: str, limit: int | None
    ) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, or a sample of them, read from end to end."""
        if split == "test" and limit is None:
            yield from data
            return
        count = sum(1 for _ in data.select_columns([self.label]))
        chosen = usable(count, split)
        if limit is not None:
            chosen = chosen[sample(len(chosen), limit)]
        wanted = set(chosen.tolist())
        for at, row in enumerate(data):
            if at in wanted:
                yield row

    def _parquet(self, split: str) -> list[str]:
        """The split's files, if they are parquet."""
        from datasets import load_dataset_builder

        builder = load_dataset_builder(self.place, self.config, revision=self.revision)
        files = list((builder.config.data_files or {}).get(self._name(split), ()))
        return files if all(str(file).endswith(".parquet") for file in files) else []

    def _scattered(
        self, files: Sequence[str], split: str, limit: int
    ) -> Iterator[Mapping[str, Any]]:
        """A seeded sample: only the row groups are read of which it has rows."""
        import fsspec
        from pyarrow.parquet import ParquetFile

        groups, sizes = [], []
        try:
            with ExitStack() as stack:
                for name in files:
                    handle = stack.enter_context(fsspec.open(name, "rb"))
                    file = ParquetFile(handle)
                    for at in range(file.num_row_groups):
                        groups.append((file, at))
                        sizes.append(file.metadata.row_group(at).num_rows)
                rows = usable(sum(sizes), split)
                for group, chosen in scattered(sizes, rows, limit):
                    file, at = groups[group]
                    table = file.read_row_group(at, [self.image, self.label])
                    yield from table.take(chosen).to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's exceptions are of these
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TadropError(
                f"{self.place}, split {split!r}: cannot be read ({reason})"
            ) from error
