"""The few core types. Imports the error alone.

Words used everywhere: theta0 is the pretrained model, theta_t the model fine-tuned on
task t, tau_t = theta_t - theta0 its task vector, taus all of them stacked, task axis
first. A *piece* is a flat run of entries of one tensor.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadrop.errors import TadropError

# One task's delta of one tensor, or a piece of it.
Tau = Float[Tensor, "*shape"]
# All tasks stacked; the task axis always comes first.
Taus = Float[Tensor, "task *shape"]
# The model axis has one entry for one shared model, and one a task for models that
# differ.
Deltas = Float[Tensor, "model *shape"]


class Need(NamedTuple):
    """Data of a task that are not on this machine.

    data:      org/name, or a folder; files: which of its files, in a pattern or words
    is_on_hub: whether data is the name of a data set of the hub
    """

    task: str
    data: str
    files: str
    is_on_hub: bool

    def __str__(self) -> str:
        about = f", {self.files}" if self.files else ""
        return f"task {self.task!r} needs the data set {self.data}{about}"


class Masked(NamedTuple):
    """One shared delta and a mask per task: task t's delta is masks[t] * shared."""

    shared: Float[Tensor, "*shape"]
    masks: Bool[Tensor, "task *shape"]


class LowRank(NamedTuple):
    """A delta per task for a matrix [out, in], kept as two thin factors.

    Task t's delta is left[t] @ right[t].
    """

    left: Float[Tensor, "task out rank"]
    right: Float[Tensor, "task rank in"]


# What a method makes of a piece of the task vectors, or of a whole tensor.
MergedPiece = Deltas | Masked | LowRank
Merge = Callable[..., MergedPiece]

KINDS = ("linear", "table", "other")


@dataclass(frozen=True)
class MatrixLayout:
    """What a tensor is to per-matrix methods, as its backbone tells it.

    It is never guessed from names or shapes.

    kind:       linear: a linear layer of a block; table: another matrix (embedding,
                projection); other: no matrix
    transposed: stored in x out (GPT-2's Conv1D), where out x in is usual
    blocks:     equal matrices stacked along the output axis (3 for a fused
                query-key-value)
    """

    kind: str = "other"
    transposed: bool = False
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TadropError(
                f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}"
            )

    def split(
        self,
        taus: Float[Tensor, "task a b"],
        fused: str,
    ) -> list[Float[Tensor, "task out in"]]:
        """The matrices in a tensor, out x in.

        fused: whole (one matrix) or split (one for each of the blocks)
        """
        upright = taus.mT if self.transposed else taus
        if fused == "split":
            return list(upright.chunk(self.blocks, dim=1))
        return [upright]

    def join(
        self,
        matrices: list[Float[Tensor, "model out in"]],
    ) -> Float[Tensor, "model a b"]:
        """The tensor as it is stored: undoes split."""
        upright = matrices[0] if len(matrices) == 1 else torch.cat(matrices, dim=1)
        return upright.mT.contiguous() if self.transposed else upright


@dataclass(frozen=True)
class Vector:
    """One task's delta over one tensor, or over a run of tensors.

    Its entries are flat float32 pieces that can be read again.
    """

    task: str
    name: str
    shape: tuple[int, ...]
    size: int
    pieces: Callable[[], Iterator[Tensor]]

    @classmethod
    def of(cls, tau: Tensor, task: str = "task", name: str = "tensor") -> "Vector":
        """A tensor in memory as a vector of one piece."""
        pieces = _one_piece(tau.detach().float())
        return cls(task, name, tuple(tau.shape), tau.numel(), pieces)

    def over(self, tau: Tensor) -> "Vector":
        """The same vector, read from a tensor in memory."""
        return replace(self, pieces=_one_piece(tau))


def _one_piece(tau: Tensor) -> Callable[[], Iterator[Tensor]]:
    return lambda: iter((tau.reshape(-1),))


GOLDEN = 0x9E3779B97F4A7C15  # by which SplitMix64 steps from word to word
ALL = 2**64 - 1  # the largest word


class Threshold(NamedTuple):
    """A cut as the compiled kernels take it.

    It keeps |tau| > value; survivors are multiplied by factor. Of the entries with
    |tau| == value it keeps those whose word (tadrop.sparsify.draws) in the sequence of
    `order` is at most `limit`, which are all of them for ALL.
    """

    value: float
    factor: float
    order: int
    limit: int

    def state(self, start: int) -> int:
        """What the word of the entry with this flat index is mixed from."""
        return (self.order + start * GOLDEN) % 2**64


class Facts(NamedTuple):
    """What a cut does to its vector, where that can be counted before it is applied.

    size, kept: entries of the vector, and of these the survivors
    factor:     what survivors are multiplied by
    ratio:      the quantile ratio that TADrop found; None for other rules
    zeros:      whether TADrop found the whole vector to be zero
    """

    size: int
    kept: int
    factor: float
    ratio: float | None = None
    zeros: bool = False


def check_scope(scope: str, allowed: tuple[str, ...]) -> None:
    """Raises TadropError unless scope is one of the allowed words."""
    if scope not in allowed:
        raise TadropError(f"scope is {scope!r}; it must be {' or '.join(allowed)}")


def check_keep(keep: float) -> None:
    """Raises TadropError unless keep is a fraction in (0, 1]."""
    if not 0 < keep <= 1:
        raise TadropError(
            f"keep is {keep}; it is the fraction kept and must be in (0, 1]"
        )


@dataclass(frozen=True)
class Score:
    """One task's result on one split.

    value is the mean of the per-example values, which are kept for paired tests;
    details holds other metrics of the same outputs, by name.
    """

    task: str
    split: str
    metric: str
    value: float
    count: int
    per_example: Tensor = field(
        default_factory=lambda: torch.empty(0), repr=False, compare=False
    )
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Slot:
    """Where a merged tensor sits in a module: all of a parameter, or a part of it.

    parameter, whole:      the parameter's name in the module, and its shape
    shape, stride, offset: the part's shape, strides and first entry
    """

    parameter: str
    whole: tuple[int, ...]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, like: Tensor) -> Tensor:
        """The tensor's part of something shaped [..., *parameter].

        It is a view where that is contiguous.
        """
        like = like.contiguous()
        leading = like.dim() - len(self.whole)
        shape = (*like.shape[:leading], *self.shape)
        stride = (*like.stride()[:leading], *self.stride)
        return like.as_strided(shape, stride, like.storage_offset() + self.offset)

    def span(self, axis: int) -> tuple[int, int]:
        """First and last + 1 of the parameter's rows (axis 0) or columns (axis 1).

        These rows or columns are the tensor's.
        """
        inner = prod(self.whole[1:])
        size = prod(self.shape)
        if axis == 0:
            return self.offset // inner, (self.offset + size) // inner
        first = self.offset % inner
        return first, first + size // self.whole[0]
