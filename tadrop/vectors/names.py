"""What names of tensors say: the layer, whether a tensor is private, and what a cut
that covers it is called.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod


def is_private(name: str, patterns: Sequence[str]) -> bool:
    """Whether a tensor stays each task's own (heads, say)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def layer_of(name: str) -> str:
    """The layer a tensor belongs to: its name up to the first number,
    `blocks.3.fc1.weight` -> `blocks.3`.

    Without a number, the module that owns it: `norm.bias` -> `norm`; a bare name is its
    own layer.
    """
    words = name.split(".")
    numbers = [at for at, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[0] + 1] if numbers else words[:-1] or words)


def cut_name(scope: str, name: str) -> str:
    """What a cut of this scope that covers a tensor is called: the tensor, its layer,
    or `model`.
    """
    if scope == "layer":
        return layer_of(name)
    return {"tensor": name, "model": "model"}[scope]


def numel(shape: Sequence[int]) -> int:
    """Entries of a shape; 1 for a scalar."""
    return prod(shape)
