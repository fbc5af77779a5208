"""Task vectors as a stream: one tensor, or a piece of one, of all tasks at a time.

It can be read as often as wanted, in a fixed order. Nothing here holds more than what
is asked for. Subtraction is in float32 whatever the checkpoints' dtype.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.quantile import HELD
from tadrop.protocols.streams import Cut, Cuts, Stream
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import MatrixLayout, TadropError, Taus, Vector
from tadrop.vectors.matching import check_fits, matched, merged_names
from tadrop.vectors.names import is_private

# Entries up to which a planner is handed one task's tensor in one piece, which it then
# keeps.
WHOLE = HELD
# Entries in a piece of a larger one: 2 MB, beside which a Python call costs nothing.
VECTOR_PIECE = 1 << 19
# The same on an accelerator.
DEVICE_VECTOR_PIECE = 1 << 24


class Addresses(NamedTuple):
    """Where one tensor of the experts, [task], and of the base lies in memory.

    The addresses hold as long as the tensors, which are therefore kept beside them.
    """

    experts: np.ndarray
    base: np.uint64
    tensors: Sequence[Tensor]


@dataclass(frozen=True)
class TaskVectors:
    """theta_t - theta0 for every floating-point tensor that is not private.

    See Stream for what can be asked of it. private: patterns of tensors' names.

    Tasks are in the order of their names, whatever the order of `experts`, so that sums
    over tasks have the same bits in any order. given: the tasks in the user's order,
    which is that of `experts` unless a copy of a stream has it from there
    """

    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    private: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    matrix_layouts: Mapping[str, MatrixLayout] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    tasks: tuple[str, ...] = field(init=False)
    order: tuple[int, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)
    _known: dict[str, Addresses | None] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if not self.experts:
            raise TadropError("no experts to merge")
        names = merged_names(self.base, self.private)
        if not names:
            raise TadropError(f"{self.base.path}: no floating-point tensor to merge")
        experts: dict[str, Checkpoint] = {}
        for task, expert in sorted(self.experts.items()):
            experts[task] = matched(self.base, expert)
            check_fits(self.base, experts[task], names, self.private)
        shapes = {name: tuple(self.base.like(name).shape) for name in names}
        if not any(map(prod, shapes.values())):
            raise TadropError(
                f"{self.base.path}: no floating-point tensor has an entry to merge"
            )
        tasks = tuple(experts)
        given = self.given if self._is_copy(tasks) else tuple(self.experts)
        object.__setattr__(self, "given", given)
        order = tuple(map(tasks.index, given))
        object.__setattr__(self, "experts", experts)
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "shapes", shapes)

    def _is_copy(self, tasks: tuple[str, ...]) -> bool:
        """Whether the experts are those of another stream, which has sorted them."""
        return tuple(self.experts) == tasks and set(self.given) == set(tasks)

    def uncut(self) -> Stream:
        """See Stream."""
        return self

    def cuts(self) -> Cuts:
        """See Stream."""
        return {}

    @property
    def found(self) -> Mapping[str, Any]:
        return {}

    def plan(self) -> None:
        """Does nothing: nothing is cut here."""

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """See Stream."""
        return self.cut_taus(name, (), start, stop)

    def cut_taus(
        self,
        name: str,
        cuts: Sequence[tuple[Cut, int]],
        start: int = 0,
        stop: int | None = None,
    ) -> Taus:
        """See Stream. Raises TadropError where an entry is NaN or infinite."""
        size = prod(self.shapes[name])
        end = size if stop is None else stop
        taus = torch.empty(len(self.tasks), end - start, device=self.device)
        if not self._load_cut(name, cuts, start, taus):
            if self._load(name, start, taus):
                self._refuse_nonfinite(taus, name)
            for task, (cut, offset) in enumerate(cuts):
                cut.apply_(taus[task], offset + start)
        if start == 0 and stop is None:
            return taus.view(len(self.tasks), *self.shapes[name])
        return taus

    def _load_cut(
        self,
        name: str,
        cuts: Sequence[tuple[Cut, int]],
        start: int,
        taus: Tensor,
    ) -> bool:
        """Loads and cuts in one pass.

        False if that cannot be done here, or an entry is not finite.
        """
        thresholds = _thresholds(cuts, start)
        if thresholds is None:
            return False
        addresses = self._addresses(name, taus)
        if addresses is None:
            return False
        from tadrop.numerics.kernels import entries as kernels

        bad = kernels.load_cut(
            addresses.experts,
            addresses.base,
            start,
            compiled.array(taus),
            *thresholds,
        )
        return bad == 0

    def _load(
        self,
        name: str,
        start: int,
        taus: Tensor,
        tasks: slice = slice(None),
    ) -> int:
        """Fills taus with the tasks' entries from start on.

        Returns a number that is 0 if all of them are finite.
        """
        addresses = self._addresses(name, taus)
        if addresses is not None:
            from tadrop.numerics.kernels import entries as kernels

            experts = addresses.experts[tasks]
            return kernels.load(experts, addresses.base, start, compiled.array(taus))
        stop = start + taus.shape[1]
        base = self._read(self.base, name, start, stop)
        experts = list(self.experts.values())[tasks]
        for tau, expert in zip(taus, experts, strict=True):
            torch.sub(self._read(expert, name, start, stop), base, out=tau)
        return int(not torch.isfinite(taus.sum(dtype=torch.float64)))

    def _addresses(self, name: str, taus: Tensor) -> Addresses | None:
        """Where the compiled kernels read a tensor from; None if they do not serve it.

        Addresses are kept only where the checkpoints themselves keep their tensors: some
        make them anew when asked (fused from q, k and v).
        """
        if not compiled.serves(prod(self.shapes[name]), taus):
            return None
        if name in self._known:
            return self._known[name]
        checkpoints = [*self.experts.values(), self.base]
        addresses = _addresses_of([checkpoint[name] for checkpoint in checkpoints])
        if all(checkpoint.lasting for checkpoint in checkpoints):
            self._known[name] = addresses
        return addresses

    def theta0(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """See Stream."""
        flat = self._read(self.base, name, start, stop)
        return flat.view(self.shapes[name]) if start == 0 and stop is None else flat

    def private_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Each task's own tensors, that are never merged."""
        private: dict[str, dict[str, Tensor]] = {}
        for task, expert in self.experts.items():
            private[task] = {}
            for name in expert.tensors:
                if is_private(name, self.private):
                    private[task][name] = expert[name]
        return private

    def vector(self, task: int, name: str | None) -> Vector:
        """See Stream."""
        if name is not None:
            shape = self.shapes[name]
            pieces = partial(self._pieces, task, (name,), WHOLE)
            return Vector(self.tasks[task], name, shape, prod(shape), pieces)
        size = sum(map(prod, self.shapes.values()))
        pieces = partial(self._pieces, task, self.names, 0)
        return Vector(self.tasks[task], "model", (size,), size, pieces)

    def _pieces(self, task: int, names: Sequence[str], whole: int) -> Iterator[Tensor]:
        """One task's entries; tensors of at most `whole` entries come in one piece."""
        piece = VECTOR_PIECE if self.device.type == "cpu" else DEVICE_VECTOR_PIECE
        for name in names:
            size = prod(self.shapes[name])
            step = max(size, 1) if size <= max(whole, piece) else piece
            for start in range(0, size, step):
                tau = torch.empty(1, min(step, size - start), device=self.device)
                self._load(name, start, tau, slice(task, task + 1))
                yield tau[0]

    def _read(
        self,
        checkpoint: Checkpoint,
        name: str,
        start: int,
        stop: int | None,
    ) -> Tensor:
        return checkpoint[name].reshape(-1)[start:stop].to(self.device, torch.float32)

    def _refuse_nonfinite(self, taus: Tensor, name: str) -> None:
        for (task, expert), tau in zip(self.experts.items(), taus, strict=True):
            if bad := int((~torch.isfinite(tau)).sum()):
                raise TadropError(
                    f"task vector {task!r}, {name!r}: {bad} entries are NaN or infinite "
                    f"({expert.path} or {self.base.path})"
                )


def _thresholds(
    cuts: Sequence[tuple[Cut, int]],
    start: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Values, factors, states of words from `start` on, and limits of cuts, [task] each.

    None if there are no cuts, or one is no threshold.
    """
    if not cuts:
        return None
    values: list[float] = []
    factors: list[float] = []
    states: list[int] = []
    limits: list[int] = []
    for cut, offset in cuts:
        threshold = cut.as_threshold()
        if threshold is None:
            return None
        values.append(threshold.value)
        factors.append(threshold.factor)
        states.append(threshold.state(offset + start))
        limits.append(threshold.limit)
    return (
        np.array(values, dtype=np.float32),
        np.array(factors, dtype=np.float32),
        np.array(states, dtype=np.uint64),
        np.array(limits, dtype=np.uint64),
    )


def _addresses_of(tensors: Sequence[Tensor]) -> Addresses | None:
    """Where the experts' tensors and the base's, the last, begin.

    None unless all of them lie in main memory as float32.
    """
    for tensor in tensors:
        plain = tensor.dtype == torch.float32 and tensor.is_contiguous()
        if not plain or tensor.device.type != "cpu":
            return None
    places = np.array([tensor.data_ptr() for tensor in tensors], dtype=np.uint64)
    return Addresses(places[:-1], places[-1], tensors)
