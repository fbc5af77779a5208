"""Legacy pickles (whole pickled models of the task_vectors lineage), read as data.

A restricted unpickler rebuilds tensors and plain containers; every other class in the
file becomes an inert stand-in that only remembers its state. The module tree of the
stand-ins is then walked for parameters and persistent buffers. Nothing is imported from
the file, and nothing in it is executed.
"""

import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._utils import (
    _rebuild_parameter,
    _rebuild_parameter_with_state,
    _rebuild_tensor_v2,
)

from tadrop.storage.checkpoint import (
    SUFFIXES,
    Checkpoint,
    first_line,
    locate,
    open_checkpoint,
)
from tadrop.types import TadropError

# (module, name) in a pickle -> what it stands for; stand-ins take the place of all others
REBUILDS = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter_with_state,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}
STORAGES = (
    "FloatStorage",
    "HalfStorage",
    "BFloat16Storage",
    "DoubleStorage",
    "LongStorage",
    "IntStorage",
    "ShortStorage",
    "CharStorage",
    "ByteStorage",
    "BoolStorage",
    "UntypedStorage",
)
DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "float64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
)
DEPTH = 64  # module trees are not deeper


class StandIn:
    """An object of a class that is not loaded: it keeps its state, and does nothing.

    It takes any construction. path: the class that it stands for, with its module
    """

    path = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for part in _state_parts(state):
            for name, value in part.items():
                if isinstance(name, str):
                    vars(self)[name] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


def _state_parts(state: Any) -> Iterator[dict]:
    """The dictionaries in what a pickle gives an object as its state.

    It is one dictionary, or a pair of the object's attributes and its slots' values,
    either of which may be None.
    """
    parts = (state,)
    if isinstance(state, tuple) and len(state) == 2:
        parts = state
    if all(part is None or isinstance(part, dict) for part in parts):
        yield from filter(None, parts)


def stand_in(module: str, name: str) -> type[StandIn]:
    """A stand-in class that remembers what it stands for, a new one for every call."""
    return type("StandIn", (StandIn,), {"path": f"{module}.{name}"})


class RestrictedUnpickler(pickle.Unpickler):
    """Finds tensor rebuilders, storages, dtypes and plain containers.

    It gives a stand-in for anything else.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in REBUILDS:
            return REBUILDS[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return getattr(torch, name)
        if module == "torch" and name in DTYPES:
            return getattr(torch, name)
        return stand_in(module, name)


def _load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


# What torch.load uses in the place of the module pickle.
INERT = SimpleNamespace(
    Unpickler=RestrictedUnpickler, load=_load, __name__="inert", HIGHEST_PROTOCOL=2
)


def _is_zip(path: Path) -> bool:
    """Whether torch would read it as a zip file, which can be mapped.

    Raises TadropError for TorchScript archives and tar files, which torch hands to
    readers that are not restricted.
    """
    with path.open("rb") as file:
        # torch looks at the first bytes; a tar file may hold a zip file at its end.
        zipped = file.read(4) == b"PK\x03\x04"
    if not zipped:
        if tarfile.is_tarfile(path):
            raise TadropError(
                f"{path}: a tar archive of an early torch, which cannot be read safely"
            )
        return False
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            raise TadropError(
                f"{path}: a TorchScript archive, which holds a program; "
                "save its state dict instead"
            )
    return True


def unpickle(path: Path) -> Any:
    """Whatever a torch file holds, with stand-ins for objects.

    Raises TadropError if it cannot be read.
    """
    try:
        return torch.load(
            path,
            map_location="cpu",
            pickle_module=INERT,
            weights_only=False,
            mmap=_is_zip(path),
        )
    except TadropError:
        raise
    # Hostile and truncated files fail in every way there is.
    except Exception as error:
        raise TadropError(
            f"{path}: not a readable pickle ({first_line(error)})"
        ) from error


def tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of what was unpickled.

    It is a mapping of tensors, one under a wrapper's key, or a module's tree. Raises
    TadropError naming the file if there are no tensors in it.
    """
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict | StandIn):
            loaded = loaded[key]
    state: dict[str, Tensor] = {}
    if isinstance(loaded, StandIn):
        state = dict(_walk(loaded, "", 0, path))
    elif isinstance(loaded, dict):
        for name, value in loaded.items():
            if isinstance(name, str) and isinstance(value, Tensor):
                state[name] = value.detach()
    if not state:
        raise TadropError(
            f"{path}: holds {type(loaded).__name__}, and no tensors in it"
        )
    return state


def _walk(
    module: StandIn,
    prefix: str,
    level: int,
    path: Path,
) -> Iterator[tuple[str, Tensor]]:
    """The parameters and persistent buffers of a module and of those in it."""
    if level > DEPTH:
        raise TadropError(f"{path}: modules nested deeper than {DEPTH}")
    attributes = vars(module)
    transient = attributes.get("_non_persistent_buffers_set") or ()
    for name, value in _items(attributes.get("_parameters")):
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.detach()
    for name, value in _items(attributes.get("_buffers")):
        if isinstance(value, Tensor) and name not in transient:
            yield f"{prefix}{name}", value.detach()
    for name, child in _items(attributes.get("_modules")):
        if isinstance(child, StandIn):
            yield from _walk(child, f"{prefix}{name}.", level + 1, path)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """The items of a dictionary, and none of anything else."""
    if isinstance(value, dict):
        yield from value.items()


def replaced(loaded: Any) -> list[str]:
    """The classes that stand-ins stood for in a module tree, each once."""
    paths: set[str] = set()
    visited: set[int] = set()
    waiting = [loaded]
    while waiting:
        node = waiting.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, StandIn):
            paths.add(type(node).path)
            waiting += vars(node).values()
        elif isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list | tuple | set):
            waiting += node
    return sorted(paths)


def open_any(path: Path) -> Checkpoint:
    """Opens a checkpoint of any supported kind.

    The restricted unpickler reads torch files, whole pickled models too.
    """
    file = locate(path)
    if file.suffix in SUFFIXES and file.suffix != ".safetensors":
        state = tensors(unpickle(file), file)
        return Checkpoint(path, (file,), dict(sorted(state.items())))
    return open_checkpoint(path)
