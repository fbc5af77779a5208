"""The full form of an export: a checkpoint like the base's, for weights that all tasks
share, or for one task alone.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from tadrop.merging.modules import folder_of, folders_of
from tadrop.merging.refusing import check_copied, check_finite
from tadrop.merging.source import Plan, WiderError, dense, kind_of
from tadrop.storage.atomic.finite import json_text
from tadrop.storage.atomic.guards import check_room
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.checkpoint_writer import STEM, CheckpointWriter, Form, form_of
from tadrop.types import Masked, MergedPiece
from tadrop.vectors.passes import PIECE


class Full:
    """A sink for shared deltas: writes theta0 + scale * delta, and what was not merged.

    own: a task's own tensors, which take the place of the base's
    """

    def __init__(
        self,
        folder: Path,
        base: Checkpoint,
        own: Mapping[str, Tensor],
        plan: Plan,
    ) -> None:
        self.base, self.plan, self.own = base, plan, own
        self.forms: dict[str, Form] = {}
        for name in dict.fromkeys([*base.tensors, *own]):
            like = own[name] if name in own else base.like(name)
            dtype = stored_dtype(like.dtype, plan.dtype)
            self.forms[name] = form_of(name, dtype, like.shape)
        aliases = {a: name for a, name in base.aliases.items() if a not in own}
        metadata = {
            "format": "pt",
            "tadrop": json_text(plan.made, str(plan.out), indent=None),
        }
        check_room(folder, sum(form.nbytes for form in self.forms.values()))
        self.writers: dict[str, CheckpointWriter] = {}  # by the module's folder
        with ExitStack() as stack:
            for inner in ("", *folders_of(self.forms)):
                forms = _inside(self.forms, inner)
                (folder / inner).mkdir(exist_ok=True)
                writer = CheckpointWriter(
                    folder / inner,
                    forms,
                    metadata,
                    {} if inner else aliases,
                    plan.shard,
                    STEM if inner else base.stem,
                )
                stack.callback(writer.close)
                self.writers[inner] = writer
            self._opened = stack.pop_all()

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        """Takes a merged piece. Raises WiderError if tasks do not share it."""
        deltas = dense(merged)
        if isinstance(deltas, Masked) or len(deltas) > 1:
            raise WiderError(kind_of(deltas))
        self.put_delta(name, start, deltas[0])

    def put_delta(self, name: str, start: int, delta: Tensor) -> None:
        """Writes theta0 + scale * delta for a run of entries from flat index start.

        It is rounded as materialise() rounds.
        """
        flat = delta.reshape(-1)
        theta0 = self.base[name].reshape(-1)[start : start + len(flat)]
        theta0 = theta0.to(flat.device, torch.float32)
        self.write(name, start, theta0 + self.plan.scale * flat)

    def write(self, name: str, start: int, weights: Tensor) -> None:
        """Writes weights from flat index start in the dtype of the file.

        Raises TadropError naming the tensor if they do not fit it.
        """
        rounded = weights.to(self.forms[name].dtype)
        check_finite(name, weights, rounded)
        self._put(name, start, rounded)

    def copy_rest(self, merged: Collection[str]) -> None:
        """Writes what was not merged: integers, and the task's own tensors."""
        for name in self.forms:
            if name in self.own:
                self._pieces(name, self.own[name], self.write)
            elif name not in merged:
                self._pieces(name, self.base[name], self._copy)

    def _pieces(
        self, name: str, tensor: Tensor, write: Callable[[str, int, Tensor], None]
    ) -> None:
        """Writes a tensor some entries at a time."""
        flat = tensor.reshape(-1)
        for start in range(0, len(flat), PIECE):
            write(name, start, flat[start : start + PIECE])

    def _copy(self, name: str, start: int, entries: Tensor) -> None:
        """Writes entries that the base and every expert have, masks of -inf among them.

        Raises TadropError naming the tensor if they do not fit the file's dtype, or
        hold NaN.
        """
        rounded = entries.to(self.forms[name].dtype)
        check_copied(name, entries, rounded)
        self._put(name, start, rounded)

    def _put(self, name: str, start: int, entries: Tensor) -> None:
        inner = folder_of(name)
        own = name.removeprefix(f"{inner}/")
        self.writers[inner].write(own, start, entries)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()


def _inside(forms: Mapping[str, Form], inner: str) -> dict[str, Form]:
    """What lies in a module's folder, by its name in the file there."""
    found: dict[str, Form] = {}
    for name, form in forms.items():
        if folder_of(name) == inner:
            found[name.removeprefix(f"{inner}/")] = form
    return found


def full_size(base: Checkpoint, plan: Plan) -> int:
    """Bytes of a full checkpoint like the base."""
    size = 0
    for name in base.tensors:
        like = base.like(name)
        size += like.numel() * stored_dtype(like.dtype, plan.dtype).itemsize
    return size


def stored_dtype(dtype: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """The wanted dtype for floating point, and a tensor's own for everything else."""
    return wanted if wanted and dtype.is_floating_point else dtype
