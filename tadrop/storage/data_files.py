"""Rows of the files that data sets are made of: parquet and tar archives.

Of a parquet file on the hub whole row groups can be read without the rest. They are kept
in a folder of the suite's own, file by file, so that each is downloaded once; the hub
library's cache holds whole files only.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tadrop.storage.atomic import caching
from tadrop.storage.files import write_bytes
from tadrop.storage.repository import Repository
from tadrop.types import TadropError

FOOTER = "footer"  # what a parquet file says of itself, in the folder of its parts
MOST_ROWS = 100_000_000  # of a file
AT_ONCE = 256  # rows held in memory where a file is read from end to end


@dataclass(frozen=True)
class ParquetFile:
    """One parquet file of a repository, closed where its `with` ends.

    parts: where row groups are kept of a file that is not at hand; None for a file that
           is downloaded whole
    """

    repository: Repository
    name: str
    parts: Path | None = None
    _opened: ExitStack = field(default_factory=ExitStack, compare=False)

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @cached_property
    def _file(self) -> Any:
        """The file as far as it has to be read: here, or part by part on the hub."""
        from pyarrow.parquet import ParquetFile as Reader
        from pyarrow.parquet import read_metadata

        kept = self._kept(FOOTER)
        if kept is None:
            handle: Any = self.repository.file(self.name).open("rb")
        else:
            handle = self.repository.opened(self.name)
        footer = read_metadata(kept) if kept and kept.exists() else None
        return Reader(self._opened.enter_context(handle), metadata=footer)

    @cached_property
    def metadata(self) -> Any:
        """The footer: schema, row groups and their sizes."""
        from pyarrow.parquet import read_metadata

        kept = self._kept(FOOTER)
        if kept is None:
            check_rows(self._file.metadata.num_rows, self.name)
            return self._file.metadata
        if not kept.exists():
            buffer = io.BytesIO()
            self._file.metadata.write_metadata_file(buffer)
            write_bytes(kept, buffer.getvalue())
        metadata = read_metadata(kept)
        check_rows(metadata.num_rows, self.name)
        return metadata

    def _kept(self, part: str) -> Path | None:
        """Where a part is kept; None where the whole file is at hand."""
        if self.parts is None or self.repository.at_hand(self.name) is not None:
            return None
        return caching.place(self.parts / self.name / part)

    def sizes(self) -> list[int]:
        """The number of rows of each row group."""
        groups = range(self.metadata.num_row_groups)
        return [self.metadata.row_group(group).num_rows for group in groups]

    def group(self, number: int, columns: Sequence[str]) -> Any:
        """Some columns of a row group, as a table."""
        from pyarrow.parquet import read_table, write_table

        kept = self._kept(f"{number}-{'-'.join(columns)}.parquet")
        if kept is None:
            return self._file.read_row_group(number, list(columns))
        if not kept.exists():
            buffer = io.BytesIO()
            write_table(self._file.read_row_group(number, list(columns)), buffer)
            write_bytes(kept, buffer.getvalue())
        return read_table(kept)

    def rows(self, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Some columns of every row."""
        for batch in self._file.iter_batches(AT_ONCE, columns=list(columns)):
            yield from batch.to_pylist()

    def class_names(self, column: str) -> list[str] | None:
        """The class names that the `datasets` library wrote into the file,
        if it did.
        """
        written = (self.metadata.metadata or {}).get(b"huggingface")
        if written is None:
            return None
        features = json.loads(written).get("info", {}).get("features") or {}
        return features.get(column, {}).get("names")

    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.metadata.schema.to_arrow_schema().names


def check_rows(count: int, name: str) -> None:
    """Raises TadropError where a parquet file says that it holds no number of examples.

    A file of a few bytes may say that it has billions of rows.
    """
    if not 0 <= count <= MOST_ROWS:
        raise TadropError(
            f"{name}: says that it holds {count:,} rows; at most {MOST_ROWS:,} are read"
        )


def kept_names(parts: Path) -> tuple[str, ...]:
    """The parquet files of which parts are kept in a folder."""
    footers = sorted(parts.rglob(FOOTER))
    return tuple(footer.parent.relative_to(parts).as_posix() for footer in footers)


def tar_rows(path: Path) -> Iterator[dict[str, bytes]]:
    """The examples of a WebDataset's tar archive: its members' bytes by their suffix.

    Members of one example stand side by side and share their path up to the first dot.
    """
    example: dict[str, bytes] = {}
    current = None
    try:
        with tarfile.open(path) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                stem, suffix = _parted(member.name)
                if stem != current and example:
                    yield example
                    example = {}
                current = stem
                content = archive.extractfile(member)
                example[suffix] = content.read() if content else b""
    except tarfile.TarError as error:
        raise TadropError(f"{path}: not a readable tar archive ({error})") from error
    if example:
        yield example


def _parted(name: str) -> tuple[str, str]:
    """A member's path up to the first dot of its file name,
    and what follows the dot.
    """
    path = PurePosixPath(name)
    stem, _, suffix = path.name.partition(".")
    return str(path.parent / stem), suffix.lower()
