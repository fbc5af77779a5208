"""Which objects of a pickle are tensors, and what torch would read for them.

All ways in which any torch up to today writes a dense tensor are known. Others (sparse,
quantised, subclasses, other devices) are recognised, so that none is left out silently.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch

from tadrop.storage.pickles.nodes import (
    Global,
    Made,
    Stored,
    UnreadableError,
    by_name,
    pairs_of,
)
from tadrop.storage.pickles.torch_names import (
    AROUND,
    ARRAYS,
    DTYPES,
    FROM_TYPE,
    OTHER_KINDS,
    PLAIN,
    READABLE,
    STORAGES,
)

AXES = 64  # of a tensor at most
HUGE = 1 << 62
LONG = 1024  # characters of a storage's name


class StoredTensor(NamedTuple):
    """A dense tensor of a storage: what it is, without its values.

    Two that are equal share all their bytes.
    """

    storage: Stored
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def entries(self) -> int:
        """How many the tensor has."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.entries * self.dtype.itemsize


def stored(identity: Any) -> tuple[str, str, int, Any]:
    """What a storage's persistent id says: type, key, count, and what comes after."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise UnreadableError("a persistent id that is no storage's")
    maker, key, _, count = identity[1:5]
    if not isinstance(maker, Global) or not isinstance(key, str) or len(key) > LONG:
        raise UnreadableError("a storage without a type or a name")
    return maker.path, key, whole(count), identity[5:]


def storage_dtype(path: str) -> torch.dtype:
    """Of the entries of a storage of the class with this name."""
    module, _, name = path.rpartition(".")
    if module not in ("torch", "torch.cuda", "torch.storage") or name not in STORAGES:
        raise UnreadableError(f"a storage of an unknown type ({path!r:.99})")
    return STORAGES[name]


def whole(value: Any) -> int:
    """A count, an index or a size, which a hostile file may give as anything."""
    if type(value) is not int or not 0 <= value < HUGE:
        raise UnreadableError(
            f"{type(value).__name__} where a count belongs, or out of range"
        )
    return value


def is_tensor(node: Any) -> bool:
    """Whether a node stands for a tensor of any kind, readable or not."""
    if not isinstance(node, Made):
        return False
    path = node.maker.path
    return path in REBUILDS or path in AROUND or path in OTHER_KINDS


def other_kind(node: Any) -> str:
    """What a node is that holds values but is no dense tensor;
    empty if it holds none.
    """
    if isinstance(node, Stored):
        return "a bare storage"
    if not isinstance(node, Made):
        return ""
    path = node.maker.path
    if path in FROM_TYPE and tensor(node) is None:
        return f"a tensor subclass ({_subclass(node)})"
    if path in ARRAYS:
        return "a numpy array"
    return OTHER_KINDS.get(path, "")


def _subclass(node: Made) -> str:
    kind = node.arguments[1] if len(node.arguments) > 1 else None
    return kind.path[:99] if isinstance(kind, Global) else "of no name"


def tensor(node: Any) -> StoredTensor | None:
    """The dense tensor that a node is; None if it is anything else.

    Raises UnreadableError if it does not fit its storage.
    """
    for _ in range(AXES):  # parameters of tensors of types, which hold one another
        if not isinstance(node, Made):
            return None
        rebuild = REBUILDS.get(node.maker.path)
        if rebuild is not None:
            return rebuild(node)
        node = _within(node)
    raise UnreadableError("a tensor within too many others")


def attached(node: Made) -> list[Any]:
    """The Python attributes that were saved with a tensor."""
    if REBUILDS.get(node.maker.path) is _from_state:
        return []
    states = list(node.states or ())
    if node.maker.path in FROM_TYPE or node.maker.path.endswith("_with_state"):
        states += node.arguments[3:4]
    for _ in range(AXES):
        inner = _within(node)
        if not isinstance(inner, Made) or inner is node:
            break
        node = inner
        states += node.states or ()
    return states


def _within(node: Made) -> Any:
    """The tensor that a parameter or a typed tensor is around;
    None for anything else.
    """
    path, arguments = node.maker.path, node.arguments
    if path in FROM_TYPE:
        return _of_type(arguments)
    if path in AROUND:
        return arguments[0] if arguments else _first_of_state(node)
    return None


def _of_type(arguments: tuple) -> Any:
    if len(arguments) < 3:
        return None
    function, kind, given = arguments[:3]
    if not isinstance(kind, Global) or kind.path not in PLAIN:
        return None
    if not isinstance(function, Global) or not isinstance(given, tuple):
        return None
    return Made(function, given)


def _first_of_state(node: Made) -> Any:
    """The values of a Variable of torch 0.1, which its state begins with."""
    state = node.states[0] if node.states else None
    if isinstance(state, tuple) and len(state) == 5:
        return state[0]
    return None


def _v1(node: Made) -> StoredTensor:
    return _dense(node.arguments, None, None)


def _v2(node: Made) -> StoredTensor:
    metadata = node.arguments[6] if len(node.arguments) > 6 else None
    return _dense(node.arguments, None, metadata)


def _v3(node: Made) -> StoredTensor:
    arguments = node.arguments
    kind = arguments[6] if len(arguments) > 6 else None
    dtype = DTYPES.get(kind.path) if isinstance(kind, Global) else None
    if dtype is None:
        raise UnreadableError("a tensor of an unknown dtype")
    return _dense(arguments, dtype, arguments[7] if len(arguments) > 7 else None)


def _from_state(node: Made) -> StoredTensor:
    """A tensor of torch 0.1, which is made empty and then given a storage."""
    state = node.states[0] if node.states else ()
    return _dense(state if isinstance(state, tuple) else (), None, None)


def _dense(
    arguments: tuple,
    dtype: torch.dtype | None,
    metadata: Any,
) -> StoredTensor:
    """The tensor that storage, offset, shape and strides describe."""
    if len(arguments) < 4 or not isinstance(arguments[0], Stored):
        raise UnreadableError("a tensor without a storage")
    if len(pairs_of(metadata)) > AXES:
        raise UnreadableError("a tensor with marks without end")
    if any(value is True for value in by_name(metadata).values()):
        raise UnreadableError("a conjugated or negated view; save its resolve_conj()")
    storage: Stored = arguments[0]
    dense = StoredTensor(
        storage,
        dtype or storage.dtype,
        whole(arguments[1]),
        _numbers(arguments[2]),
        _numbers(arguments[3]),
    )
    if dense.dtype not in READABLE:
        raise UnreadableError(f"its entries are {dense.dtype}, which is not read")
    _check(dense)
    return dense


def _numbers(node: Any) -> tuple[int, ...]:
    """A shape or strides, which may be wrapped in torch.Size."""
    if isinstance(node, Made) and node.maker.path == "torch.Size" and node.arguments:
        node = node.arguments[0]
    if not isinstance(node, list | tuple) or len(node) > AXES:
        raise UnreadableError("a tensor without a shape")
    return tuple(map(whole, node))


def _check(dense: StoredTensor) -> None:
    """Raises UnreadableError unless every entry of the tensor lies in its storage."""
    if len(dense.shape) != len(dense.stride):
        raise UnreadableError("a tensor whose shape and strides differ in length")
    room = dense.storage.length * dense.storage.dtype.itemsize // dense.dtype.itemsize
    last = dense.offset
    for size, stride in zip(dense.shape, dense.stride, strict=True):
        last += (size - 1) * stride
    if dense.offset > room or dense.entries >= HUGE:
        raise UnreadableError("a tensor outside its storage")
    if dense.entries and last >= room:
        raise UnreadableError("a tensor that reaches out of its storage")


EARLY = ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte")
REBUILDS: dict[str, Callable[[Made], StoredTensor]] = {
    "torch._utils._rebuild_tensor": _v1,
    "torch._utils._rebuild_tensor_v2": _v2,
    "torch._utils._rebuild_tensor_v3": _v3,
}
for word in EARLY:
    REBUILDS[f"torch.{word}Tensor"] = _from_state
    REBUILDS[f"torch.cuda.{word}Tensor"] = _from_state
