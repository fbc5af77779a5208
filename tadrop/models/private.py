"""A task's private tensors, and the refusal of a checkpoint that lacks one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from tadrop.types import TadropError
from tadrop.vectors.names import is_private


def missing(path: object, name: str) -> TadropError:
    """The one line about a checkpoint that lacks a tensor."""
    return TadropError(
        f"{path}: tensor {name!r} is missing; this file is not the whole model: "
        "put a complete one in its place"
    )


class PrivateTensors(dict[str, Tensor]):
    """A task's own tensors by name: its head, and whatever else is not merged.

    path:     the checkpoint that they are of; a tensor that it lacks is refused by name
    patterns: of the names of private tensors
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, Tensor], patterns: Sequence[str]
    ) -> None:
        super().__init__(tensors)
        self.path = path
        self.patterns = patterns

    def __missing__(self, name: str) -> NoReturn:
        raise missing(self.path, name)

    def should_have(self, name: str) -> bool:
        """Whether a tensor of this name is private,
        so that the base does not fill it.
        """
        return is_private(name, self.patterns)
