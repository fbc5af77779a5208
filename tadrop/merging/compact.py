"""The compact form of an export, for weights that differ by task, and how it is read.

One safetensors file, `merged.safetensors`, holds
  delta/NAME  [model, *shape] once: one model for all tasks, or one for each
  mask/NAME   [task, ceil(n / 8)] uint8, one bit an entry (numpy.packbits)
  factors     [task] float32, what each task's delta is multiplied by
and in its metadata the tasks' names, the scale and how it was made.
"""

import json
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.merging.refusing import check_finite
from tadrop.merging.source import (
    KINDS,
    Plan,
    Source,
    WiderError,
    dense,
    kind_of,
    packed_bytes,
)
from tadrop.storage.atomic.finite import json_text
from tadrop.storage.atomic.guards import check_room
from tadrop.storage.checkpoint import locate, open_checkpoint
from tadrop.storage.checkpoint_writer import Form, TensorFile
from tadrop.types import Deltas, Masked, MergedPiece, TadropError
from tadrop.vectors.merged import Merged, pack

COMPACT = "merged.safetensors"
FORMAT = 1


class Compact:
    """A sink for results that differ by task, of a kind of KINDS."""

    def __init__(self, folder: Path, source: Source, kind: str, plan: Plan) -> None:
        self.kind = kind
        self.tasks = len(source.tasks)
        self.dtype = plan.dtype or torch.float32
        self.sizes = {name: prod(shape) for name, shape in source.shapes.items()}
        note = {
            "format": FORMAT,
            "tasks": list(source.tasks),
            "scale": plan.scale,
            "made": plan.made,
        }
        metadata = {
            "format": "pt",
            "tadrop": json_text(note, str(plan.out), indent=None),
        }
        forms = self._forms(source)
        check_room(folder, sum(form.nbytes for form in forms.values()))
        self.file = TensorFile(folder / COMPACT, forms, metadata)

    def _forms(self, source: Source) -> dict[str, Form]:
        models = self.tasks if self.kind == "each" else 1
        forms: dict[str, Form] = {}
        for name, shape in source.shapes.items():
            forms[f"delta/{name}"] = Form(self.dtype, (models, *shape))
        forms["factors"] = Form(torch.float32, (self.tasks,))
        if self.kind == "masked":
            for name, size in self.sizes.items():
                shape = (self.tasks, packed_bytes(size))
                forms[f"mask/{name}"] = Form(torch.uint8, shape)
        return forms

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        """Takes a merged piece. Raises WiderError if this kind does not hold it."""
        piece = dense(merged)
        kind = kind_of(piece)
        if KINDS.index(kind) > KINDS.index(self.kind):
            raise WiderError(kind)
        size = self.sizes[name]
        for model, delta in enumerate(self._deltas(piece)):
            first = model * size + start
            rounded = delta.to(self.dtype)
            check_finite(name, delta, rounded)
            self.file.write(f"delta/{name}", first, rounded)
        if self.kind == "masked":
            for task, bits in enumerate(pack(self._masks(piece))):
                first = task * packed_bytes(size) + start // 8
                self.file.write(f"mask/{name}", first, bits)

    def _deltas(self, piece: Deltas | Masked) -> Tensor:
        """[model, ...]: one for all tasks, or one for each, as this kind wants it."""
        if self.kind != "each":
            return piece.shared[None] if isinstance(piece, Masked) else piece
        deltas = piece.shared * piece.masks if isinstance(piece, Masked) else piece
        return deltas.expand(self.tasks, *deltas.shape[1:])

    def _masks(self, piece: Deltas | Masked) -> Tensor:
        """[task, ...]: the masks, which keep everything where the piece has none."""
        if isinstance(piece, Masked):
            return piece.masks
        everything = torch.ones(1, dtype=torch.bool)
        return everything.expand(self.tasks, *piece.shape[1:])

    def finish(self, factors: Tensor | None) -> None:
        """Writes the factors, which are known only when everything is merged."""
        if factors is None:
            factors = torch.ones(self.tasks)
        check_finite("factors", factors, factors.float())
        self.file.write("factors", 0, factors.float().expand(self.tasks))

    def __enter__(self) -> "Compact":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def read(path: Path) -> Merged:
    """A compact export, mapped: a merge result as the suite evaluates it.

    path: its folder, or the file in it. The scale it was written for is scale(path).
    """
    file = _file(path)
    note = _note(file)
    tensors = open_checkpoint(file).tensors
    deltas: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part == "delta":
            deltas[name] = tensor.float()
        elif part == "mask":
            masks[name] = tensor
    factors = tensors["factors"]
    is_plain = bool((factors == 1).all())
    tasks = tuple(note["tasks"])
    return Merged(tasks, deltas, masks, None if is_plain else factors)


def scale(path: Path) -> float:
    """The scale (lambda) that a compact export was written for."""
    return _note(_file(path))["scale"]


def _file(path: Path) -> Path:
    return locate(path / COMPACT if path.is_dir() else path)


def _note(file: Path) -> dict[str, Any]:
    """What the metadata say. Raises TadropError if it is no compact export."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            note = json.loads((opened.metadata() or {}).get("tadrop", "{}"))
    except (SafetensorError, ValueError) as error:
        raise TadropError(f"{file}: not a readable checkpoint ({error})") from error
    if note.get("format") != FORMAT:
        raise TadropError(
            f"{file}: not a compact merge of format {FORMAT}; export it again"
        )
    return note
