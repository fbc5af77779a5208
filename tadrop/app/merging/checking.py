"""`--verify`: OUT read back, merged again from the inputs, and compared bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from tadrop.app.console import Progress, say
from tadrop.app.merging.request import Request, configuration
from tadrop.app.meter import Meter
from tadrop.app.runs.exporting import source_of
from tadrop.app.runs.preparing import prepare
from tadrop.merging.compact import read
from tadrop.merging.export import Written
from tadrop.merging.modules import folders_of, with_modules
from tadrop.merging.source import dense
from tadrop.storage.atomic.contents import list_files
from tadrop.storage.checkpoint import (
    MANIFEST,
    Checkpoint,
    open_checkpoint,
    sha256,
)
from tadrop.storage.files import write_text
from tadrop.types import Masked, MergedPiece, TadropError


def verify(request: Request, written: Written) -> None:
    """Raises TadropError where OUT is not what its inputs give; says its hashes if it is.

    SHA256SUMS beside the weights holds the hash of every weight file from now on.
    """
    cfg = configuration(request)
    prepared = prepare(cfg, Progress(), Meter(), silent=True)
    scale = float(cfg.merge.scale)
    if written.kind == "full":
        base = prepared.vectors.base
        out = open_checkpoint(written.path)
        out = with_modules(out, written.path, folders_of(base.tensors))
        judge = _Full(base, out, scale)
    else:
        judge = _Compact(written.path, prepared.stream.tasks)
    source_of(prepared, Progress()).run(judge.put)
    if judge.wrong:
        raise TadropError(
            f"{written.path}: {len(judge.wrong)} tensors are not what the inputs give "
            f"({', '.join(sorted(judge.wrong)[:5])}); is the disk sound?"
        )
    files = sorted(written.path.rglob("*.safetensors"))
    lines: list[str] = []
    for file in files:
        lines.append(f"{sha256(file)}  {file.relative_to(written.path)}")
    text = "\n".join(lines) + "\n"
    write_text(written.path / MANIFEST, text)
    list_files(written.path)
    say(f"verified: {judge.count} tensors read back, equal bit for bit ({MANIFEST})")


class _Judge:
    """What compares pieces with those on disk, from several threads."""

    def __init__(self) -> None:
        self.wrong: set[str] = set()
        self.seen: set[str] = set()
        self._lock = Lock()

    @property
    def count(self) -> int:
        return len(self.seen)

    def note(self, name: str, is_equal: bool) -> None:
        with self._lock:
            self.seen.add(name)
            if not is_equal:
                self.wrong.add(name)


class _Full(_Judge):
    """Against a checkpoint like the base's."""

    def __init__(self, base: Checkpoint, out: Checkpoint, scale: float) -> None:
        super().__init__()
        self.base, self.out, self.scale = base, out, scale

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        piece = dense(merged)
        assert isinstance(piece, Tensor)
        flat = piece[0].reshape(-1)
        stop = start + len(flat)
        theta0 = self.base[name].reshape(-1)[start:stop].float()
        there = self.out[name].reshape(-1)[start:stop]
        made = (theta0 + self.scale * flat).to(there.dtype)
        self.note(name, torch.equal(made, there))


class _Compact(_Judge):
    """Against the compact form, whose factors come last and are not compared."""

    def __init__(self, folder: Path, tasks: tuple[str, ...]) -> None:
        super().__init__()
        merged = read(folder)
        self.deltas: Mapping[str, Tensor] = merged.deltas
        self.tasks = tasks

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        piece = dense(merged)
        deltas = piece.shared[None] if isinstance(piece, Masked) else piece
        flat = deltas.reshape(len(deltas), -1)
        there = self.deltas[name].reshape(len(self.deltas[name]), -1)
        there = there[:, start : start + flat.shape[1]]
        same = torch.equal(flat.expand_as(there).to(there.dtype), there)
        self.note(name, same)
