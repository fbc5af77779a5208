"""Modules of sentence-transformers whose weights lie in folders of their own.

They are merged with the model that they belong to, and written where they were. The name
of a tensor begins with its folder: `2_Dense/linear.weight`.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.storage.torch_files.refusal import is_file, reading

MODULES = "modules.json"  # names the folders of the modules, in their order
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# How sentence-transformers calls a module's folder, in a tensor's name.
FOLDER = re.compile(r"(\d+_\w+)/")


def modules(folder: Path) -> list[str]:
    """The folders that sentence-transformers has beside its first module."""
    file = folder / MODULES
    if not file.is_file():
        return []
    with reading(file):
        entries = json.loads(file.read_text(encoding="utf-8"))
        paths: list[str] = []
        for entry in entries:
            paths.append(str(entry["path"]))
    found: list[str] = []
    for path in paths:
        if path and Path(path).name == path != "..":
            found.append(path)
    return found


def folder_of(name: str) -> str:
    """The module's folder that a tensor lies in; empty for the model's own."""
    found = FOLDER.match(name)
    return "" if found is None else found[1]


def folders_of(names: Iterable[str]) -> list[str]:
    """The modules' folders that tensors of these names lie in."""
    return sorted(set(filter(None, map(folder_of, names))))


def with_modules(
    checkpoint: Checkpoint, folder: Path, inner: Iterable[str]
) -> Checkpoint:
    """The checkpoint with the tensors of its modules.

    folder: where the modules' folders lie; inner: what they are called
    Raises TadropError naming the file that cannot be read.
    """
    tensors: dict[str, Tensor] = dict(checkpoint.tensors)
    files, seen = list(checkpoint.files), dict(checkpoint.seen)
    for module in inner:
        file = _weights(folder / module)
        if file is None or not FOLDER.match(f"{module}/"):
            continue
        part = open_checkpoint(file)
        for name, tensor in part.tensors.items():
            tensors[f"{module}/{name}"] = tensor
        for alias, name in part.aliases.items():
            tensors[f"{module}/{alias}"] = part.tensors[name]
        files += part.files
        seen |= part.seen
    if len(files) == len(checkpoint.files):
        return checkpoint
    ordered = dict(sorted(tensors.items()))
    return replace(checkpoint, tensors=ordered, files=tuple(files), seen=seen)


def _weights(folder: Path) -> Path | None:
    """The file of a module's weights; None where it has none."""
    for name in WEIGHTS:
        if is_file(folder / name):
            return folder / name
    return None
