"""Checkpoints of any kind under all their names, as whole pickled models have them."""

from pathlib import Path

from tadrop.storage.checkpoint import (
    SUFFIXES,
    Checkpoint,
    locate,
    open_checkpoint,
)
from tadrop.storage.torch_files.reader import read


def open_any(path: Path) -> Checkpoint:
    """Opens a checkpoint of any supported kind.

    Tensors of a torch file that share their bytes all stand among its tensors. Raises
    TadropError naming the file if it cannot be read in full.
    """
    file = locate(path)
    if file.suffix in SUFFIXES and file.suffix != ".safetensors":
        state = read(file).tensors
        return Checkpoint(path, (file,), dict(sorted(state.items())))
    return open_checkpoint(path)
