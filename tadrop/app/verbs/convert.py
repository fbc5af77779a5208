"""Turns legacy pickles into safetensors without importing or executing anything from
them.

    python -m tadrop.app.verbs.convert finetuned.pt [more.pt ...] [--out DIR] [--dtype
    float32]

Each FILE.pt becomes FILE.safetensors beside it (or under --out, named after its folder
and itself), holding the tensors of the state dict or of the pickled module tree.
FILE.json says where they come
from: the source's name, size and sha256, the classes that were replaced by inert
stand-ins, and which names shared memory. Nothing else is kept.
"""

import argparse
import json
from pathlib import Path

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
    found: dict[str, Tensor], dtype: torch.dtype | None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous tensors that share no memory, as safetensors needs them, and of ties
    {name left
    out: name kept}.
    """
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple, str] = {}
    for name, tensor in sorted(found.items()):
        place = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tuple(tensor.shape),
            tensor.stride(),
        )
        if tensor.numel() and place in seen:
            aliases[name] = seen[place]
            continue
        seen[place] = name
        floating = dtype is not None and tensor.is_floating_point()
        kept[name] = (tensor.to(dtype) if floating else tensor).clone().contiguous()
    return kept, aliases


def convert(
    source: Path, target: Path, dtype: torch.dtype | None = None
) -> dict[str, object]:
    """Writes target and its provenance; returns the provenance. Raises TadropError if
    the source cannot be read.
    """
    if not source.is_file():
        raise TadropError(f"{source}: no such file")
    loaded = unpickle(source)
    kept, aliases = separate(tensors(loaded, source), dtype)
    provenance = {
        "source": {
            "name": source.name,
            "bytes": source.stat().st_size,
            "sha256": sha256(source),
        },
        "tensors": len(kept),
        "parameters": sum(t.numel() for t in kept.values()),
        "aliases": aliases,
        "replaced_by_stand_ins": replaced(loaded),
    }
    write_tensors(target, kept, {"source_sha256": provenance["source"]["sha256"]})
    write_text(target.with_suffix(".json"), json.dumps(provenance, indent=1) + "\n")
    return provenance


def main() -> None:
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
            made = convert(file, target, dtype)
            digest = made["source"]["sha256"][:12]
            out.print(
                f"{target}: {made['tensors']} tensors, {made['parameters']:,} entries, from sha256 {digest}"
            )


if __name__ == "__main__":
    main()
