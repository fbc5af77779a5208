"""What names of tensors say: the layer, what is private, what a cut is called."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod


def is_private(name: str, patterns: Sequence[str]) -> bool:
    """Whether a tensor stays each task's own (heads, say)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def layer_of(name: str) -> str:
    """The layer a tensor belongs to: its name up to the first number.

    `blocks.3.fc1.weight` is of `blocks.3`. Without a number it is the module that owns
    the tensor, `norm` for `norm.bias`; a bare name is its own layer.
    """
    words = name.split(".")
    for index, word in enumerate(words):
        if word.isdigit():
            return ".".join(words[: index + 1])
    return ".".join(words[:-1] or words)


def cut_name(scope: str, name: str) -> str:
    """What a cut of this scope that covers a tensor is called.

    It is the tensor's name, its layer's, or `model`.
    """
    if scope == "layer":
        return layer_of(name)
    return {"tensor": name, "model": "model"}[scope]


def numel(shape: Sequence[int]) -> int:
    """Entries of a shape; 1 for a scalar."""
    return prod(shape)
