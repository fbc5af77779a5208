"""Turns legacy pickles into safetensors; nothing in them is imported or executed.

    tadrop convert finetuned.pt [more.pt ...] [--out DIR] [--dtype float32]

Each FILE.pt becomes FILE.safetensors beside it (or under --out, named after its folder
and itself), holding the tensors of the state dict or of the pickled module tree.
FILE.json says where they come from: the source's name, size and sha256, the classes
that were replaced by inert stand-ins, and which names shared memory. Nothing else is
kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.storage.checkpoint import sha256
from tadrop.storage.files import write_tensors, write_text
from tadrop.storage.legacy import replaced, tensors, unpickle
from tadrop.types import TadropError

DTYPES = ("float32", "float16", "bfloat16")


def separate(
    state: dict[str, Tensor],
    dtype: torch.dtype | None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous tensors that share no memory, as safetensors needs them.

    Also returns the ties: {name left out: name kept}. dtype: floating-point tensors are
    converted to it; None leaves them as they are
    """
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    names: dict[object, str] = {}  # by where a tensor lies in memory
    for name, tensor in sorted(state.items()):
        identity = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tuple(tensor.shape),
            tensor.stride(),
        )
        if tensor.numel() and identity in names:
            aliases[name] = names[identity]
            continue
        names[identity] = name
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        kept[name] = tensor.clone().contiguous()
    return kept, aliases


def convert(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """Writes target, and beside it where it comes from, which is returned too.

    Raises TadropError if the source cannot be read.
    """
    if not source.is_file():
        raise TadropError(f"{source}: no such file")
    loaded = unpickle(source)
    kept, aliases = separate(tensors(loaded, source), dtype)
    digest = sha256(source)
    provenance = {
        "source": {
            "name": source.name,
            "bytes": source.stat().st_size,
            "sha256": digest,
        },
        "tensors": len(kept),
        "parameters": sum(tensor.numel() for tensor in kept.values()),
        "aliases": aliases,
        "replaced_by_stand_ins": replaced(loaded),
    }
    write_tensors(target, kept, {"source_sha256": digest})
    write_text(target.with_suffix(".json"), json.dumps(provenance, indent=1) + "\n")
    return provenance


def main() -> None:
    """Converts the files that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.pt")
    parser.add_argument(
        "--out", type=Path, help="a folder to write to instead of beside each file"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="convert floating-point tensors; left as they are by default",
    )
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype) if options.dtype else None
    with told_in_one_line():
        for file in options.files:
            folder = options.out / file.parent.name if options.out else file.parent
            target = folder / f"{file.stem}.safetensors"
            provenance = convert(file, target, dtype)
            digest = provenance["source"]["sha256"][:12]
            out.print(
                f"{target}: {provenance['tensors']} tensors, "
                f"{provenance['parameters']:,} entries, from sha256 {digest}"
            )


if __name__ == "__main__":
    main()
