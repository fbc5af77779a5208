"""The few core types. Imports nothing of ours.

Words used everywhere: theta0 is the pretrained model, theta_t the model fine-tuned on task t, tau_t = theta_t - theta0
its task vector, taus all of them stacked, task axis first. A *piece* is a flat run of entries of one tensor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Tau = Float[Tensor, "*shape"]  # one task's delta of one tensor, or a piece of it
Taus = Float[Tensor, "task *shape"]  # all tasks stacked, task axis first, always
Deltas = Float[Tensor, "model *shape"]  # model axis: 1 = one shared model, T = one per task


class TadropError(Exception):
    """A mistake in what the user gave us; the message names it and says what to do."""


class Masked(NamedTuple):
    """One shared delta and a mask per task: task t's delta is masks[t] * shared."""

    shared: Float[Tensor, "*shape"]
    masks: Bool[Tensor, "task *shape"]


class LowRank(NamedTuple):
    """A delta per task for a matrix [out, in], kept as two thin factors: task t's delta is left[t] @ right[t]."""

    left: Float[Tensor, "task out rank"]
    right: Float[Tensor, "task rank in"]


Merge = Callable[..., Deltas | Masked | LowRank]

KINDS = ("linear", "table", "other")


@dataclass(frozen=True)
class Layout:
    """What a tensor is to per-matrix methods, as its backbone tells it; never guessed from names or shapes.

    kind:       linear: a linear layer of a block; table: another matrix (embedding, projection); other: no matrix
    transposed: stored in x out (GPT-2's Conv1D), where out x in is usual
    blocks:     equal matrices stacked along the output axis (3 for a fused query-key-value)
    """

    kind: str = "other"
    transposed: bool = False
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TadropError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")

    def split(self, taus: Float[Tensor, "task a b"], fused: str) -> list[Float[Tensor, "task out in"]]:
        """The matrices in a tensor, out x in. fused: whole (one matrix) or split (one for each of the blocks)."""
        upright = taus.mT if self.transposed else taus
        return list(upright.chunk(self.blocks, dim=1)) if fused == "split" else [upright]

    def join(self, matrices: list[Float[Tensor, "model out in"]]) -> Float[Tensor, "model a b"]:
        """The tensor as it is stored: undoes split."""
        upright = matrices[0] if len(matrices) == 1 else torch.cat(matrices, dim=1)
        return upright.mT.contiguous() if self.transposed else upright


class Cut(Protocol):
    """Which entries of one task's vector survive, and by how much they are rescaled.

    Applying a cut is elementwise, so a tensor can be cut piece by piece: `start` is the piece's first flat index.
    """

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """The survivors, rescaled, and zeros; of tau's shape. May be tau itself where nothing changes."""
        ...

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """apply() in place."""
        survivors = self.apply(tau, start)
        return tau if survivors is tau else tau.copy_(survivors)

    def facts(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Vector:
    """One task's delta over one tensor, or over a run of tensors, as flat float32 pieces that can be read again."""

    task: str
    name: str
    shape: tuple[int, ...]
    size: int
    pieces: Callable[[], Iterator[Tensor]]

    @classmethod
    def of(cls, tau: Tensor, task: str = "task", name: str = "tensor") -> "Vector":
        """A tensor in memory as a vector of one piece."""
        return cls(task, name, tuple(tau.shape), tau.numel(), iter).over(tau.detach().float())

    def over(self, tau: Tensor) -> "Vector":
        """The same vector, read from a tensor in memory."""
        return replace(self, pieces=lambda: iter((tau.reshape(-1),)))


class Stream(Protocol):
    """Task vectors, read tensor by tensor in a fixed order and as often as wanted.

    layouts: what a tensor is to per-matrix methods; a tensor that is not in it is no matrix
    uncut:   the stream before its last sparsifier, or itself
    found:   what a search settled on to make these vectors, for the record; mostly nothing
    """

    tasks: tuple[str, ...]
    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    layouts: Mapping[str, Layout]
    uncut: "Stream"
    found: Mapping[str, Any]

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """The whole tensor [task, *shape], or its flat entries start to stop, [task, stop - start]; float32."""
        ...

    def vector(self, task: int, name: str | None) -> Vector:
        """One task's tensor, or with None the concatenation of all tensors in the order of `names`."""
        ...

    def theta0(self, name: str, start: int = 0, stop: int | None = None) -> Float[Tensor, "*shape"]:
        """The pretrained tensor, or its flat entries start to stop; float32."""
        ...


@dataclass(frozen=True)
class Derived:
    """What a stream made of another one has in common with it: everything but the vectors."""

    source: Stream

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.source.tasks

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.shapes

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return self.source.layouts

    @property
    def device(self) -> torch.device:
        return getattr(self.source, "device", torch.device("cpu"))

    def theta0(self, name: str, start: int = 0, stop: int | None = None) -> Float[Tensor, "*shape"]:
        """See Stream."""
        return self.source.theta0(name, start, stop)


class Sparsifier(Protocol):
    """A rule that plans a cut for one vector. scope: the vector is one tensor, one layer, or the whole model.

    A rule that ranks entries by row (last axis) has by_rows = True; its cuts are applied to whole rows.
    """

    scope: str

    def plan(self, vector: Vector) -> Cut: ...


def check_scope(scope: str, allowed: tuple[str, ...]) -> None:
    """Raises TadropError unless scope is one of the allowed words."""
    if scope not in allowed:
        raise TadropError(f"scope is {scope!r}; it must be {' or '.join(allowed)}")


def check_keep(keep: float) -> None:
    """Raises TadropError unless keep is a fraction in (0, 1]."""
    if not 0 < keep <= 1:
        raise TadropError(f"keep is {keep}; it is the fraction kept and must be in (0, 1]")


@dataclass(frozen=True)
class Method:
    """A merging method as the engine sees it: free functions of a formula file, and how they are fed.

    merge(taus) -> Deltas | Masked | LowRank   called once per block; with `statistics=` too if the row declares them
    scope                            entry: any piece of a tensor will do; tensor: whole tensors only; matrix: only
                                     what the backbone says is a matrix, whole and out x in
    rest(taus) -> Deltas             matrix scope: every other tensor, whole
    kinds, fused                     matrix scope: which kinds of matrices (Layout); fused ones whole or split
    needs                            what merge is handed by name beside taus: uncut (the task vectors before the
                                     last sparsifier, shaped as taus), theta0 (the pretrained entries)
    survey(stream) -> anything       optional pass over all task vectors (and `statistics=`, if declared), handed to
                                     merge as `survey=`
    tally(taus, merged) -> [k, T]    optional sums over a block's entries, added up per tensor by the engine
    compiled(taus) -> merged, tally  optional twin of merge and tally for large tensors on the CPU: same bits
    rescale(sums, sizes) -> [T]      from the tallies [tensor, k, T] and tensor sizes, one factor per task, or [1]
    """

    merge: Merge
    scope: str = "entry"
    survey: Callable[[Stream], Any] | None = None
    tally: Callable[..., Tensor] | None = None
    rescale: Callable[[Tensor, Tensor], Tensor] | None = None
    compiled: Callable[..., tuple[Deltas | Masked, Tensor | None]] | None = None
    rest: Merge | None = None
    kinds: Sequence[str] = ("linear", "table")
    fused: str = "whole"
    needs: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, function in list(vars(self).items()):
            if isinstance(function, partial):  # Hydra's checks its target anew, a millisecond, for every block
                object.__setattr__(self, name, partial(function.func, *function.args, **function.keywords))
        check_scope(self.scope, ("entry", "tensor", "matrix"))
        if (self.tally is None) != (self.rescale is None):
            raise TadropError("a method has both tally and rescale, or neither")
        if (self.rest is None) == (self.scope == "matrix"):
            raise TadropError("a method of scope matrix says with `rest` what other tensors get; no other method does")
        if self.needs and self.scope == "matrix":
            raise TadropError("a method of scope matrix is handed nothing beside taus: leave `needs` empty")
        if self.fused not in ("whole", "split"):
            raise TadropError(f"fused is {self.fused!r}; it must be whole or split")
        for words, allowed, name in ((self.kinds, KINDS[:2], "kinds"), (self.needs, ("uncut", "theta0"), "needs")):
            if unknown := set(words) - set(allowed):
                raise TadropError(f"{name} has {sorted(unknown)}; it may have {', '.join(allowed)}")


@dataclass(frozen=True)
class Score:
    """One task's result on one split: mean of the per-example values, with the values kept for paired tests.

    details: other metrics of the same outputs, by name
    """

    task: str
    split: str
    metric: str
    value: float
    count: int
    per_example: Tensor = field(default_factory=lambda: torch.empty(0), repr=False, compare=False)
    details: Mapping[str, float] = field(default_factory=dict)


class Tasks(Protocol):
    """A set of tasks: their data, split by split, and how an output is graded.

    Inputs come ready for the model: a tensor, or a mapping or dataclass of tensors (tadrop.inputs). grade gives one
    value per example, whose mean is the metric.
    """

    names: tuple[str, ...]
    metric: str
    protocol: str

    def batches(self, task: str, split: str) -> Iterator[tuple[Any, Tensor]]: ...

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def fingerprint(self, task: str, split: str) -> str: ...


@runtime_checkable
class Corpora(Protocol):
    """Tasks some of whose metrics are no mean over examples (recall among all, correlation, CIDEr).

    grade then gives what is to be kept of each example, and measure the metrics of all of them, the reported one
    first; None where the mean of the kept values is the metric.
    """

    def measure(self, task: str, split: str, kept: Tensor) -> Mapping[str, float] | None: ...


class Statistics(Protocol):
    """One tensor per task for the merged tensors that have a statistic, such as a Fisher diagonal or a Gram matrix."""

    def block(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | None:
        """[task, ...]: whole, or flat entries start to stop, as Stream.taus gives them; None where there is none."""
        ...


class Attachment(Protocol):
    """What a method puts around the module beside its weights: adapters, or experts behind a router."""

    def attach(self, module: nn.Module, task: str) -> AbstractContextManager[None]:
        """In effect while the block lasts; the merged weights and the task's private tensors are in place."""
        ...

    def stored_bytes(self) -> int: ...


class Workbench(Protocol):
    """What a method may do with the model and the tasks' data beside merging weights. See evaluate.Bench."""

    module: nn.Module
    device: torch.device
    head: str  # the name of the submodule whose input is the features

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies weights into the module in place."""
        ...

    def theta0(self, name: str) -> Tensor:
        """One tensor of the base, float32, on the device."""
        ...

    def expert(self, task: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The weights of a task's own model, one at a time."""
        ...

    def equip(self, task: str) -> None:
        """Puts a task's private tensors (its head) into the module."""
        ...

    def places(self, names: Iterable[str]) -> Mapping[str, "Place"]:  # tadrop.places, which is above this module
        """Where these tensors lie in the module's parameters; what is no part of a parameter is left out."""
        ...

    def samples(self, task: str, split: str, size: int, *words: object) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device; the words decide the order."""
        ...

    def features(self, task: str, split: str, limit: int | None = None, *words: object) -> Tensor:
        """What the module as it is hands to the head, [example, width]: the split in order, or `limit` drawn ones."""
        ...

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, for the module as it is with the task's private tensors."""
        ...
