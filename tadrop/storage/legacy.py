"""Legacy pickles (whole pickled models of the task_vectors lineage), read without
importing or executing anything.

A restricted unpickler rebuilds tensors and plain containers; every other class in the
file becomes an inert stand-in that only remembers its state. The module tree of the
stand-ins is then walked for parameters and persistent buffers.
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

from tadrop.storage.checkpoint import SUFFIXES, Checkpoint, locate, open_checkpoint
from tadrop.types import TadropError

REBUILDS = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    (
        "torch._utils",
        "_rebuild_parameter_with_state",
    ): torch._utils._rebuild_parameter_with_state,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}
STORAGES = (
    "Float",
    "Half",
    "BFloat16",
    "Double",
    "Long",
    "Int",
    "Short",
    "Char",
    "Byte",
    "Bool",
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
    """An object of a class that is not loaded: it takes any construction and keeps its
    state, and does nothing.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if (
            isinstance(state, tuple)
            and len(state) == 2
            and all(s is None or isinstance(s, dict) for s in state)
        ):
            state = {**(state[0] or {}), **(state[1] or {})}
        if isinstance(state, dict):
            vars(self).update({k: v for k, v in state.items() if isinstance(k, str)})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


def stand_in(module: str, name: str) -> type[StandIn]:
    """A stand-in class that remembers what it stands for; each attribute of the pickle
    gets its own.
    """
    return type("StandIn", (StandIn,), {"path": f"{module}.{name}"})


class RestrictedUnpickler(pickle.Unpickler):
    """Finds tensor rebuilders, storages, dtypes and two containers; anything else is a
    stand-in.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in REBUILDS:
            return REBUILDS[module, name]
        if module in ("torch", "torch.storage") and name in {
            f"{s}Storage" for s in STORAGES
        } | {"UntypedStorage"}:
            return getattr(torch, name)
        if module == "torch" and name in DTYPES:
            return getattr(torch, name)
        return stand_in(module, name)


def _load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


INERT = SimpleNamespace(
    Unpickler=RestrictedUnpickler, load=_load, __name__="inert", HIGHEST_PROTOCOL=2
)


def _mappable(path: Path) -> bool:
    """Whether it is a zip file. torch hands TorchScript archives and tar files to
    readers that are not restricted.
    """
    with path.open("rb") as file:
        zipped = (
            file.read(4) == b"PK\x03\x04"
        )  # what torch looks at: a tar may hold a zip at its end
    if not zipped:
        if tarfile.is_tarfile(path):
            raise TadropError(
                f"{path}: a tar archive of an early torch, which cannot be read safely"
            )
        return False
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            raise TadropError(
                f"{path}: a TorchScript archive, which holds a program; save its state dict instead"
            )
    return True


def unpickle(path: Path) -> Any:
    """Whatever a torch file holds, with stand-ins for objects. Raises TadropError if it
    cannot be read.
    """
    try:
        mapped = _mappable(path)
        return torch.load(
            path,
            map_location="cpu",
            pickle_module=INERT,
            weights_only=False,
            mmap=mapped,
        )
    except TadropError:
        raise
    except Exception as error:  # hostile and truncated files fail in every way there is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TadropError(f"{path}: not a readable pickle ({reason})") from error


def tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of what was unpickled: a mapping of tensors, one under a wrapper's
    key, or a module's tree.
    """
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict | StandIn):
            loaded = loaded[key]
    if isinstance(loaded, StandIn):
        found = dict(_walk(loaded, "", 0, path))
    elif isinstance(loaded, dict):
        found = {
            k: v.detach()
            for k, v in loaded.items()
            if isinstance(k, str) and isinstance(v, Tensor)
        }
    else:
        found = {}
    if not found:
        raise TadropError(
            f"{path}: holds {type(loaded).__name__}, and no tensors in it"
        )
    return found


def _walk(
    module: StandIn, prefix: str, level: int, path: Path
) -> Iterator[tuple[str, Tensor]]:
    if level > DEPTH:
        raise TadropError(f"{path}: modules nested deeper than {DEPTH}")
    state = vars(module)
    transient = state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        held = state.get(kind)
        for name, value in held.items() if isinstance(held, dict) else ():
            if isinstance(value, Tensor) and not (
                kind == "_buffers" and name in transient
            ):
                yield f"{prefix}{name}", value.detach()
    children = state.get("_modules")
    for name, child in children.items() if isinstance(children, dict) else ():
        if isinstance(child, StandIn):
            yield from _walk(child, f"{prefix}{name}.", level + 1, path)


def replaced(loaded: Any) -> list[str]:
    """The classes that stand-ins stood for in a module tree, each once."""
    found, todo, seen = set(), [loaded], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, StandIn):
            found.add(type(node).path)
            todo += vars(node).values()
        elif isinstance(node, dict):
            todo += node.values()
        elif isinstance(node, list | tuple | set):
            todo += node
    return sorted(found)


def open_any(path: Path) -> Checkpoint:
    """Opens a checkpoint of any supported kind; torch files, whole pickled models too,
    by the restricted unpickler.
    """
    file = locate(path)
    if file.suffix in SUFFIXES and file.suffix != ".safetensors":
        return Checkpoint(
            path, (file,), dict(sorted(tensors(unpickle(file), file).items()))
        )
    return open_checkpoint(path)
