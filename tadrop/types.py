"""The few core types. Imports nothing of ours.

Words used everywhere: theta0 is the pretrained model, theta_t the model fine-tuned on task t, tau_t = theta_t - theta0
its task vector, taus all of them stacked, task axis first. A *piece* is a flat run of entries of one tensor.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Tau = Float[Tensor, "*shape"]  # one task's delta of one tensor, or a piece of it
Taus = Float[Tensor, "task *shape"]  # all tasks stacked, task axis first, always
Deltas = Float[Tensor, "model *shape"]  # model axis: 1 = one shared model, T = one per task


class TadropError(Exception):
    """A mistake in what the user gave us; the message names it and says what to do."""


class Masked(NamedTuple):
    """One shared delta and a mask per task: task t's delta is masks[t] * shared."""

    shared: Float[Tensor, "*shape"]
    masks: Bool[Tensor, "task *shape"]


Merge = Callable[..., Deltas | Masked]


class Cut(Protocol):
    """Which entries of one task's vector survive, and by how much they are rescaled.

    Applying a cut is elementwise, so a tensor can be cut piece by piece: `start` is the piece's first flat index.
    """

    def apply(self, tau: Tau, start: int = 0) -> Tau: ...

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
        return cls(task, name, tuple(tau.shape), tau.numel(), lambda: iter((tau.detach().float().reshape(-1),)))


class Stream(Protocol):
    """Task vectors, read tensor by tensor in a fixed order and as often as wanted."""

    tasks: tuple[str, ...]
    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """The whole tensor [task, *shape], or its flat entries start to stop, [task, stop - start]; float32."""
        ...

    def vector(self, task: int, name: str | None) -> Vector:
        """One task's tensor, or with None the concatenation of all tensors in the order of `names`."""
        ...


class Sparsifier(Protocol):
    """A rule that plans a cut for one vector. scope: the vector is one tensor, one layer, or the whole model."""

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

    merge(taus) -> Deltas | Masked   called once per block
    scope                            entry: any piece of a tensor will do; tensor: whole tensors only
    survey(stream) -> anything       optional pass over all task vectors, handed to merge as `survey=`
    tally(taus, merged) -> [k, T]    optional sums over a block's entries, added up per tensor by the engine
    rescale(sums, sizes) -> [T]      from the tallies [tensor, k, T] and tensor sizes, one factor per task
    fused(taus) -> merged, tally     optional compiled twin of merge and tally for large tensors on the CPU: same bits
    """

    merge: Merge
    scope: str = "entry"
    survey: Callable[[Stream], Any] | None = None
    tally: Callable[..., Tensor] | None = None
    rescale: Callable[[Tensor, Tensor], Tensor] | None = None
    fused: Callable[..., tuple[Deltas | Masked, Tensor | None]] | None = None

    def __post_init__(self) -> None:
        check_scope(self.scope, ("entry", "tensor"))
        if (self.tally is None) != (self.rescale is None):
            raise TadropError("a method has both tally and rescale, or neither")


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

    Inputs come ready for the model; grade gives one value per example, whose mean is the metric.
    """

    names: tuple[str, ...]
    metric: str
    protocol: str

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]: ...

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def fingerprint(self, task: str, split: str) -> str: ...


@runtime_checkable
class Corpora(Protocol):
    """Tasks some of whose metrics are no mean over examples (recall among all, correlation, CIDEr).

    grade then gives what is to be kept of each example, and measure the metrics of all of them, the reported one
    first; None where the mean of the kept values is the metric.
    """

    def measure(self, task: str, split: str, kept: Tensor) -> Mapping[str, float] | None: ...
