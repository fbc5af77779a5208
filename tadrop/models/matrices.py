"""Which merged tensors are matrices to per-matrix methods,
as a model's YAML says it.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

from tadrop.types import MatrixLayout, TadropError


@runtime_checkable
class FindsMatrices(Protocol):
    """What a model does beside what Model says where its files tell its matrices."""

    def found_matrices(self) -> Mapping[str, MatrixLayout]:
        """The matrix layout of tensors, by name; empty where `matrices` names them."""
        ...


def found_matrices(model: object) -> Mapping[str, MatrixLayout]:
    """What a model's files tell of its matrices; empty for most models."""
    return model.found_matrices() if isinstance(model, FindsMatrices) else {}


def matrix_layouts(
    model: str,
    matrices: Sequence[Mapping[str, Any]],
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, MatrixLayout]:
    """The matrix layout of every merged tensor that a model's `matrices` names.

    An entry is {names: pattern, kind: ..., transposed: ..., blocks: ...}; the first one
    that fits a tensor counts, and without a kind it is linear. Raises TadropError for a
    pattern that fits no tensor, and for a tensor that is no matrix or does not fall into
    that many blocks.
    """
    told: dict[str, MatrixLayout] = {}
    for entry in matrices:
        settings = {"kind": "linear", **entry}
        pattern = settings.pop("names")
        layout = MatrixLayout(**settings)
        fitting = [name for name in shapes if fnmatchcase(name, pattern)]
        if not fitting:
            raise TadropError(
                f"model {model}: matrices names {pattern!r}, "
                "and no merged tensor is called so"
            )
        for name in fitting:
            _check(model, name, shapes[name], layout)
            told.setdefault(name, layout)
    return told


def _check(model: str, name: str, shape: Sequence[int], layout: MatrixLayout) -> None:
    """Raises TadropError unless the tensor is a matrix of so many blocks."""
    if len(shape) != 2:
        raise TadropError(
            f"model {model}: matrices names {name!r}, whose shape is {list(shape)}"
        )
    outputs = shape[1 if layout.transposed else 0]
    if outputs % layout.blocks:
        raise TadropError(
            f"model {model}: {name!r} of shape {list(shape)} is not "
            f"{layout.blocks} equal blocks"
        )
