"""Checkpoints on disk of any architecture: nothing is known of them but their tensors.

They are merged and written, not evaluated. What their files mean is settled in
tadrop.checkpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NoReturn

from tadrop.checkpoints.family import Family
from tadrop.checkpoints.options import Options
from tadrop.models.model import Model
from tadrop.models.private import PrivateTensors
from tadrop.protocols.tasks import Tasks
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import MatrixLayout, TadropError

NO_ARCHITECTURE = (
    "model=local knows weights, not an architecture to evaluate; "
    "add evaluate=false export.dir=OUT"
)


@dataclass(frozen=True)
class Local:
    """A base and its experts: paths, NAME=PATH, or ORG/NAME[@REVISION]; see Model.

    base:       null where there is none, for methods that need none
    private:    patterns of tensors that stay each expert's own (heads)
    matrices:   what per-matrix methods are told (models.matrices); empty: what
                transformers stores so (tadrop.checkpoints.tensors.matrices)
    keep_base:  patterns of tensors that are the base's, whatever experts have
    tokenizer:  whose vocabulary comes out, where they differ: base, union or an expert's
                name; null refuses
    statistics: of normalisation layers: the experts' mean, or the base's
    round_base: whether experts of fewer bits are compared with the base rounded so
    force:      whether settings that make another function of the model may differ
    chat_template: base, an expert's name, auto (the commonest) or a file; null: that of
                the tokenizer
    rename:     of an expert's tensors, by its name: {REGEX: REPLACEMENT}
    weights:    by expert: a number, a gradient over depth, or rules (merging.weighting)
    density:    the same for what the row's sparsifier keeps
    t:          of SLERP, by tensor: a number, a gradient over depth, or rules
    key:        the entry of torch files to take of several that could hold the state
    hub_dir:    a folder laid out like the hub, asked before its library's cache
    """

    name: str
    base: str | None
    experts: Sequence[str]
    private: Sequence[str] = ()
    matrices: Sequence[Mapping[str, Any]] = ()
    keep_base: Sequence[str] = ()
    tokenizer: str | None = None
    statistics: Literal["mean", "base"] = "mean"
    round_base: bool = False
    force: bool = False
    chat_template: str | None = None
    rename: Mapping[str, Mapping[str, str]] | None = None
    weights: Mapping[str, Any] | None = None
    density: Mapping[str, Any] | None = None
    t: Any = None
    key: str | None = None
    hub_dir: str | None = None

    @cached_property
    def family(self) -> Family:
        """The checkpoints as they are understood."""
        if isinstance(self.experts, str) or not self.experts:
            raise TadropError(
                "model.experts is a list of checkpoints: 'model.experts=[DIR1,DIR2]'"
            )
        options = Options(
            tuple(self.private),
            tuple(self.keep_base),
            self.tokenizer,
            self.statistics,
            self.round_base,
            self.force,
            self.chat_template,
            self.rename or {},
            self.key,
        )
        return Family(self.base, tuple(self.experts), options, self.hub_dir)

    @property
    def own_tasks(self) -> tuple[str, ...]:
        """One name an expert: its folder's, its file's, or the one that it was given.

        Raises TadropError if two are equal and nothing tells them apart.
        """
        return tuple(self.family.inputs)

    def open_base(self) -> Checkpoint:
        """The base under the names that loaders want, what is doubtful in its notes."""
        base, _ = self.family.settled
        return replace(base, notes=tuple(self.family.notes))

    def open_expert(self, task: str) -> Checkpoint:
        """An expert under the base's names, by its name."""
        return replace(self.family.settled[1][task], notes=())

    def settled(self, base: Checkpoint, experts: Mapping[str, Checkpoint]) -> "Local":
        """These checkpoints with every private tensor named."""
        return replace(self, private=self.family.private)

    def found_matrices(self) -> Mapping[str, MatrixLayout]:
        """What is a matrix where nobody says it: see matrices."""
        return {} if self.matrices else self.family.layouts()

    @property
    def head_module(self) -> None:
        """There is no module."""

    def published(self) -> dict[str, float]:
        """Nothing is known of these experts."""
        return {}

    def bound(self, tasks: Tasks) -> NoReturn:
        """Raises TadropError: tasks are for an evaluation."""
        raise TadropError(NO_ARCHITECTURE)

    def build(self) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)

    def slots(self, module: Any) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)

    def equip(self, module: Any, private: PrivateTensors) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)


_MODEL: type[Model] = Local  # a type checker compares all members
