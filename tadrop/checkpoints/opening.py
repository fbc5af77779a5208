"""Inputs of a merge: places opened, with their configuration and what they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tadrop.checkpoints import lora
from tadrop.checkpoints.configs import read_config
from tadrop.checkpoints.fitting import some
from tadrop.checkpoints.made import Maker, with_made
from tadrop.checkpoints.tensors.kinds import check_not_quantised
from tadrop.checkpoints.words import Place
from tadrop.merging.modules import modules, with_modules
from tadrop.storage.checkpoint import (
    INDEX,
    Beside,
    Checkpoint,
    locate,
    open_checkpoint,
)
from tadrop.types import TadropError

EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)
# Formats of other programs, and what makes safetensors of them.
FOREIGN = {
    ".gguf": "convert it to safetensors with transformers (gguf_file=...)",
    ".onnx": "export the model that it was made from with save_pretrained",
    ".h5": "load it with from_tf=True in transformers 4 and save_pretrained",
    ".msgpack": "load it with from_flax=True in transformers 4 and save_pretrained",
    ".npz": "save its arrays with safetensors.numpy.save_file",
    ".distcp": "torch.distributed.checkpoint.format_utils dcp_to_torch joins shards",
}
PARTS = "_model_states.pt"


@dataclass(frozen=True)
class Input:
    """An input of a merge.

    checkpoint: its tensors; of an adapter there are none until its base is known
    config:     what config.json says, empty where there is none
    adapter:    what it holds if it is a LoRA folder
    """

    place: Place
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    adapter: lora.Adapter | None = None

    @property
    def folder(self) -> Path:
        """Where its configuration stands."""
        path = self.place.path
        return path if path.is_dir() else path.parent


def opened(place: Place, key: str | None = None) -> Input:
    """Opens a place. Raises TadropError naming what cannot be read, and why.

    key: the entry of a torch file to take of several that could hold the state
    """
    path = place.path
    folder = path if path.is_dir() else path.parent
    _refuse_foreign(path)
    if path.is_dir() and lora.is_adapter(path):
        adapter = lora.open_adapter(path)
        return Input(place, Checkpoint(path, adapter.files, {}), {}, adapter)
    config = read_config(folder)
    try:
        checkpoint = open_checkpoint(path, key)
    except TadropError as error:
        if place.repository is None:
            raise
        raise TadropError(
            f"{error}; fetch it: hf download {place.repository}"
        ) from error
    checkpoint = with_modules(checkpoint, folder, modules(folder))
    check_not_quantised(path, config, checkpoint.tensors)
    notes: list[str] = []
    file = checkpoint.files[0]
    if path.is_dir() and (path / f"{file.name}{INDEX}").is_file():
        notes.append(
            f"{path}: {file.name} is read, not the shards beside it, as transformers does"
        )
    if (folder / lora.CONFIG).is_file():
        notes.append(
            f"{path}: {lora.CONFIG} beside whole weights; the weights are used"
        )
    beside = Beside(folder=folder if folder != path else None)
    checkpoint = replace(checkpoint, notes=tuple(notes), beside=beside)
    return Input(place, widened(checkpoint), config)


def widened(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with numbers of eight bits as float32, which holds them all."""
    makers: dict[str, Maker] = {}
    likes: dict[str, torch.Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        if tensor.dtype in EIGHT_BITS:
            makers[name] = tensor.float
            likes[name] = torch.empty(tensor.shape, device="meta")
    if not makers:
        return checkpoint
    note = (
        f"{checkpoint.path}: {len(makers)} tensors are float8 and are read as float32"
    )
    wide = with_made(checkpoint, makers, likes)
    return replace(wide, notes=(*checkpoint.notes, note))


def _refuse_foreign(path: Path) -> None:
    """Raises TadropError for a format of another program, with what converts it."""
    if path.is_dir():
        try:
            locate(path)
        except TadropError:
            _refuse_folder(path)
    elif path.suffix in FOREIGN:
        raise TadropError(f"{path}: {path.suffix} is not read; {FOREIGN[path.suffix]}")


def _refuse_folder(path: Path) -> None:
    if (path / "model_index.json").is_file():
        parts: list[str] = []
        for one in sorted(path.iterdir()):
            if (one / "config.json").is_file():
                parts.append(one.name)
        raise TadropError(
            f"{path}: a pipeline of several models; merge one of them: "
            f"{', '.join(parts) or 'none is here'}"
        )
    for file in sorted(path.iterdir()):
        if file.suffix in FOREIGN:
            raise TadropError(
                f"{file}: {file.suffix} is not read; {FOREIGN[file.suffix]}"
            )
        if file.name.endswith(PARTS):
            raise TadropError(
                f"{file}: a part of a model that DeepSpeed saved; join its parts: "
                "python zero_to_fp32.py"
            )
    if inner := _checkpoints_in(path):
        raise TadropError(
            f"{path}: holds no weights itself but checkpoints in folders; name one: "
            f"{some(inner)}"
        )


def _checkpoints_in(folder: Path) -> list[str]:
    """The folders directly in a folder that hold a checkpoint or an adapter."""
    found: list[str] = []
    for inner in sorted(filter(Path.is_dir, folder.iterdir())):
        try:
            if not lora.is_adapter(inner):
                locate(inner)
        except TadropError:
            continue
        found.append(inner.name)
    return found
