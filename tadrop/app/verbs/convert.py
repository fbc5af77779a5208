"""Turns torch files into safetensors; nothing in them is imported or executed.

    tadrop convert finetuned.pt [more.pt ...] [-o DIR] [--dtype float32]

Each FILE.pt becomes FILE.safetensors beside it (or under --out, named after its folder
and itself), holding the tensors of the state dict, of the pickled module tree or of the
TorchScript module. A file of which a tensor would be left out is refused by that
tensor's name. FILE.json says where the tensors come from: the source's name, size and
sha256, the classes of which nothing was imported, which names share their tensor, and
what was left out (buffers that a module does not keep, and what --leave-out names).
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.storage.checkpoint import sha256
from tadrop.storage.files import write_tensors, write_text
from tadrop.storage.torch_files.reader import TorchFile, read
from tadrop.storage.torch_files.refusal import is_file
from tadrop.types import TadropError

DTYPES = ("float32", "float16", "bfloat16")
RESERVED = (
    "format",
    "source_sha256",
)  # words of a file's metadata, where ties stand too
NAMED = 100  # tensors that a refusal names


def separate(
    file: TorchFile,
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """Contiguous tensors that share no memory, as safetensors needs them.

    Those that are tied are written once, under the first of their names. dtype:
    floating-point tensors are converted to it; None leaves them as they are
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in sorted(file.tensors.items()):
        if name in file.aliases and name not in RESERVED:
            continue
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        shares = tensor.untyped_storage().nbytes() != tensor.nbytes
        if shares or name in file.aliases:
            tensor = tensor.clone()
        kept[name] = tensor.contiguous()
    return kept


def convert(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
    key: str | None = None,
    leave_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes target, and beside it where it comes from, which is returned too.

    key:       the entry of the source that holds the state, where several could
    leave_out: patterns of the names of tensors that are not wanted
    Raises TadropError if the source cannot be read, or not every tensor be written.
    """
    if not is_file(source):
        raise TadropError(f"{source}: no such file")
    file = read(source, key, leave_out)
    kept = separate(file, dtype)
    _check_dtypes(source, kept)
    ties: dict[str, str] = {}
    for alias, name in file.aliases.items():
        if alias not in kept:
            ties[alias] = name
    digest = sha256(source)
    provenance = {
        "source": {
            "name": source.name,
            "bytes": source.stat().st_size,
            "sha256": digest,
        },
        "tensors": len(kept),
        "parameters": sum(tensor.numel() for tensor in kept.values()),
        "aliases": ties,
        "left_out": list(file.left_out),
        "replaced_by_stand_ins": file.classes,
    }
    write_tensors(target, kept, {**ties, "source_sha256": digest})
    text = json.dumps(provenance, indent=1, allow_nan=False) + "\n"
    write_text(target.with_suffix(".json"), text)
    return provenance


def _check_dtypes(source: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises TadropError naming the tensors that safetensors has no dtype for."""
    from safetensors.torch import _TYPES  # pyright: ignore[reportPrivateUsage]  the list

    refused: list[str] = []
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES.values():
            refused.append(f"{name!r} ({tensor.dtype})")
    if refused:
        raise TadropError(
            f"{source}: safetensors cannot hold {', '.join(refused[:NAMED])}; "
            "leave them out with --leave-out NAME, or save them in another dtype"
        )


def main() -> None:
    """Converts the files that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.pt")
    parser.add_argument(
        *("-o", "--out"),
        type=Path,
        help="a folder to write to instead of beside each file",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="convert floating-point tensors; left as they are by default",
    )
    parser.add_argument(
        "--key", help="the entry that holds the state dict, where several could"
    )
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="a tensor that is not wanted; * and ? stand for any text; may be repeated",
    )
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype) if options.dtype else None
    with told_in_one_line():
        for file in options.files:
            folder = options.out / file.parent.name if options.out else file.parent
            target = folder / f"{file.stem}.safetensors"
            provenance = convert(file, target, dtype, options.key, options.leave_out)
            digest = provenance["source"]["sha256"][:12]
            out.print(
                f"{target}: {provenance['tensors']} tensors, "
                f"{provenance['parameters']:,} entries, from sha256 {digest}"
            )


if __name__ == "__main__":
    main()
