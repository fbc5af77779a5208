"""Writes what a merge produced: a checkpoint like the base's, or a compact form where
every task gets its own weights.

full      OUT/model.safetensors (shards and an index above `shard` bytes), with the base's configuration and tokenizer
          files beside it: from_pretrained(OUT) loads it
compact   OUT/merged.safetensors: `delta/NAME` [model, *shape] once, `mask/NAME` [task, ceil(n / 8)] uint8 at one bit an
          entry (numpy.packbits), `factors` [task]; read() opens it again, and with
          expand=True every task's full checkpoint stands in OUT/TASK

Tensors go to disk block by block as they are merged, from several threads, each to its
own place in the file; only headers and single blocks are ever held. Everything is
written into a hidden folder beside OUT and renamed at the end, so OUT is there whole or
not at all.
"""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tadrop.merging.engine import Put, Summary, merge_into
from tadrop.merging.method import Method
from tadrop.numerics.threads import in_order
from tadrop.protocols import Stream
from tadrop.storage.checkpoint import INDEX, Checkpoint, locate, open_checkpoint
from tadrop.types import Deltas, LowRank, Masked, TadropError
from tadrop.vectors.merged import Block, Merged, pack
from tadrop.vectors.passes import BLOCK

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WEIGHTS, COMPACT, NOTE = "model.safetensors", "merged.safetensors", "tadrop.json"
SHARD = 5_000_000_000  # bytes
MERGED_FORMAT = 1
BESIDE = (
    ".json",
    ".txt",
    ".model",
    ".jinja",
    ".tiktoken",
    ".py",
)  # configuration and tokenizer files
_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How to write: scale (lambda), dtype (None: the base's, float32 in the compact
    form), and where shards end.
    """

    out: Path
    scale: float = 1.0
    dtype: torch.dtype | None = None
    expand: bool = False
    shard: int = SHARD
    overwrite: bool = False
    made: Mapping[str, Any] = field(
        default_factory=dict
    )  # how it was made, for the metadata


@dataclass(frozen=True)
class Source:
    """Something that puts merged blocks into a sink: a merge that is still to run, or
    one that is held.
    """

    tasks: tuple[str, ...]
    shapes: Mapping[str, Shape]
    rescaled: bool
    run: Callable[[Put], Summary]


@dataclass(frozen=True)
class Written:
    """An export: where it is, its kind (full or compact), each task's full checkpoint
    if expanded, bytes on disk.
    """

    path: Path
    kind: str
    expanded: Mapping[str, Path]
    bytes: int
    density: float


def dtype_of(word: str | None) -> torch.dtype | None:
    """fp32, fp16 or bf16; None for the base's own."""
    if word is None:
        return None
    if word not in DTYPES:
        raise TadropError(
            f"export.dtype is {word!r}; it must be {', '.join(DTYPES)}, or null for the base's"
        )
    return DTYPES[word]


class TensorFile:
    """One safetensors file whose tensors are written piece by piece, in any order, from
    any thread.
    """

    def __init__(
        self,
        path: Path,
        layout: Mapping[str, tuple[torch.dtype, Shape]],
        metadata: Mapping[str, str],
    ) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        at = 0
        for name, (dtype, shape) in layout.items():
            end = at + prod(shape) * dtype.itemsize
            header[name] = {
                "dtype": _CODES[dtype],
                "shape": list(shape),
                "data_offsets": [at, end],
            }
            at = end
        text = json.dumps(header, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self.places = {
            name: 8 + len(text) + header[name]["data_offsets"][0] for name in layout
        }
        self.size = 8 + len(text) + at
        try:
            os.truncate(self.handle, self.size)
            self._put(struct.pack("<Q", len(text)) + text, 0)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, tensor: Tensor) -> None:
        """A contiguous run of a tensor's entries, from flat index start."""
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            self._put(
                flat.view(torch.uint8).numpy().data,
                self.places[name] + start * flat.element_size(),
            )

    def _put(self, data: bytes | memoryview, at: int) -> None:
        view = memoryview(data).cast("B")
        while view:
            done = os.pwrite(self.handle, view, at)
            view, at = view[done:], at + done

    def close(self) -> None:
        os.close(self.handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Full:
    """A sink for shared deltas: writes theta0 + scale * delta in shards, and the
    tensors that were not merged.
    """

    def __init__(
        self,
        folder: Path,
        base: Checkpoint,
        own: Mapping[str, Tensor],
        plan: Plan,
        stack: ExitStack,
    ) -> None:
        """own: tensors of the task's own, in the place of the base's."""
        self.base, self.plan, self.own = base, plan, own
        tensors = dict(base.tensors) | dict(own)
        self.dtypes = {n: _stored(t.dtype, plan.dtype) for n, t in tensors.items()}
        layout = {n: (self.dtypes[n], tuple(t.shape)) for n, t in tensors.items()}
        shards = _shards(layout, plan.shard)
        aliases = {
            alias: name for alias, name in base.aliases.items() if alias not in own
        }
        self.files: dict[str, TensorFile] = {}
        for number, names in enumerate(shards, 1):
            name = (
                WEIGHTS
                if len(shards) == 1
                else f"model-{number:05}-of-{len(shards):05}.safetensors"
            )
            tied = {alias: kept for alias, kept in aliases.items() if kept in names}
            metadata = {
                "format": "pt",
                "tadrop": json.dumps(plan.made, ensure_ascii=False),
            } | tied
            file = stack.enter_context(
                TensorFile(folder / name, {n: layout[n] for n in names}, metadata)
            )
            self.files |= dict.fromkeys(names, file)
        if len(shards) > 1:
            _write_index(folder, self.files, layout)

    def put(self, name: str, start: int, merged: Block) -> None:
        merged = dense(merged)
        if isinstance(merged, Masked):
            raise _WiderError("masked")
        if len(merged) > 1:
            raise _WiderError("each")
        self.put_delta(name, start, merged[0])

    def put_delta(self, name: str, start: int, delta: Tensor) -> None:
        """Writes theta0 + scale * delta for a run of entries, rounded as materialise()
        rounds.
        """
        flat = delta.reshape(-1)
        theta0 = (
            self.base[name]
            .reshape(-1)[start : start + len(flat)]
            .to(flat.device, torch.float32)
        )
        self.write(name, start, theta0 + self.plan.scale * flat)

    def write(self, name: str, start: int, weights: Tensor) -> None:
        rounded = weights.to(self.dtypes[name])
        if rounded.dtype == torch.float16 and not torch.isfinite(rounded).all():
            raise TadropError(
                f"tensor {name!r} does not fit float16; use export.dtype=bf16 or fp32"
            )
        self.files[name].write(name, start, rounded)

    def copy_rest(self, merged: Mapping[str, Shape]) -> None:
        """Writes what was not merged: integers and private tensors, the task's own
        before the base's.
        """
        for name in self.files:
            if name not in merged or name in self.own:
                flat = self.own.get(name, self.base.tensors.get(name)).reshape(-1)
                for start in range(0, len(flat), BLOCK):
                    self.write(name, start, flat[start : start + BLOCK])


class _Compact:
    """A sink for results that differ by task: kind masked (one delta, masks) or each (a
    delta per task) or shared.
    """

    def __init__(
        self, folder: Path, source: Source, kind: str, plan: Plan, stack: ExitStack
    ) -> None:
        self.kind, self.tasks, self.dtype = (
            kind,
            len(source.tasks),
            plan.dtype or torch.float32,
        )
        models = self.tasks if kind == "each" else 1
        self.sizes = {n: prod(shape) for n, shape in source.shapes.items()}
        layout = {
            f"delta/{n}": (self.dtype, (models, *shape))
            for n, shape in source.shapes.items()
        }
        layout["factors"] = (torch.float32, (self.tasks,))
        if kind == "masked":
            layout |= {
                f"mask/{n}": (torch.uint8, (self.tasks, _bytes(size)))
                for n, size in self.sizes.items()
            }
        note = {
            "format": MERGED_FORMAT,
            "tasks": list(source.tasks),
            "scale": plan.scale,
            "made": plan.made,
        }
        metadata = {"format": "pt", "tadrop": json.dumps(note, ensure_ascii=False)}
        self.file = stack.enter_context(TensorFile(folder / COMPACT, layout, metadata))

    def put(self, name: str, start: int, merged: Block) -> None:
        merged = dense(merged)
        if isinstance(merged, Masked):
            shared, masks = merged.shared[None], merged.masks
        else:
            shared, masks = (
                merged,
                torch.ones(1, dtype=torch.bool).expand(self.tasks, *merged.shape[1:]),
            )
        if self.kind == "shared" and (isinstance(merged, Masked) or len(merged) > 1):
            raise _WiderError("masked" if isinstance(merged, Masked) else "each")
        if self.kind == "masked" and len(shared) > 1:
            raise _WiderError("each")
        if self.kind == "each":
            shared = (shared * masks if isinstance(merged, Masked) else shared).expand(
                self.tasks, *shared.shape[1:]
            )
        for row, delta in enumerate(shared):
            self.file.write(
                f"delta/{name}", row * self.sizes[name] + start, delta.to(self.dtype)
            )
        if self.kind == "masked":
            for row, bits in enumerate(pack(masks)):
                self.file.write(
                    f"mask/{name}", row * _bytes(self.sizes[name]) + start // 8, bits
                )

    def finish(self, factors: Tensor | None) -> None:
        self.file.write(
            "factors",
            0,
            torch.ones(self.tasks)
            if factors is None
            else factors.float().expand(self.tasks),
        )


def dense(merged: Block) -> Deltas | Masked:
    """Thin factors multiplied out: a file holds every task's delta."""
    return merged.left @ merged.right if isinstance(merged, LowRank) else merged


class _WiderError(Exception):
    """A block does not fit the kind of file that was begun; the argument is the kind
    that holds it.
    """


def _bytes(bits: int) -> int:
    return (bits + 7) // 8


def _stored(dtype: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted and dtype.is_floating_point else dtype


def _shards(
    layout: Mapping[str, tuple[torch.dtype, Shape]], limit: int
) -> list[list[str]]:
    """Names in runs of at most `limit` bytes, wide dtypes first so that every tensor is
    aligned.
    """
    shards, room = [[]], limit
    for name in sorted(layout, key=lambda n: (-layout[n][0].itemsize, n)):
        dtype, shape = layout[name]
        size = prod(shape) * dtype.itemsize
        if size > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _write_index(
    folder: Path,
    files: Mapping[str, TensorFile],
    layout: Mapping[str, tuple[torch.dtype, Shape]],
) -> None:
    total = sum(prod(shape) * dtype.itemsize for dtype, shape in layout.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": {n: files[n].path.name for n in sorted(files)},
    }
    (folder / f"{WEIGHTS}{INDEX}").write_text(
        json.dumps(index, indent=1) + "\n", encoding="utf-8"
    )


@contextmanager
def _staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder that becomes `out` if all goes well and vanishes if not."""
    _refuse_taken(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        staging.chmod(0o755)
        yield staging
        if out.exists():
            shutil.rmtree(out)
        staging.rename(out)
    except OSError as error:
        reason = error.strerror or error
        raise TadropError(
            f"{out}: could not be written ({reason}); nothing of it was left behind"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_taken(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise TadropError(
            f"{out}: is already there; choose another export.dir or add overwrite=true"
        )
    if not (out / NOTE).is_file():
        raise TadropError(
            f"{out}: has no {NOTE}, so this suite did not write it and will not replace it"
        )


def _copy_beside(base: Checkpoint, folder: Path, dtype: torch.dtype | None) -> None:
    """The base's configuration and tokenizer files; config.json names the dtype that
    was written.
    """
    if not base.path.is_dir():
        return
    for file in sorted(base.path.iterdir()):
        if (
            file.suffix in BESIDE
            and not file.name.endswith(INDEX)
            and file.name != NOTE
            and file.is_file()
        ):
            shutil.copyfile(file, folder / file.name)
    config = folder / "config.json"
    if dtype is not None and config.is_file():
        content = json.loads(config.read_text(encoding="utf-8"))
        named = {
            key: str(dtype).removeprefix("torch.")
            for key in ("torch_dtype", "dtype")
            if key in content
        }
        config.write_text(
            json.dumps(content | named, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


def _write(
    source: Source, base: Checkpoint, folder: Path, plan: Plan, kind: str
) -> Summary:
    """Runs the source into a file of this kind, or of a wider kind if a block does not
    fit it.
    """
    try:
        with ExitStack() as stack:
            if kind == "shared" and not source.rescaled:
                sink = _Full(folder, base, {}, plan, stack)
                summary = source.run(sink.put)
                sink.copy_rest(source.shapes)
            else:
                sink = _Compact(folder, source, kind, plan, stack)
                summary = source.run(sink.put)
                sink.finish(summary.factors)
        return summary
    except _WiderError as wider:
        for file in folder.iterdir():
            file.unlink()
        return _write(source, base, folder, plan, *wider.args)


def export(
    source: Source,
    base: Checkpoint,
    private: Mapping[str, Mapping[str, Tensor]],
    plan: Plan,
) -> Written:
    """Writes a merge to disk. private: each task's own tensors, for its full
    checkpoint.

    Raises TadropError if the folder is taken, the disk is full or a weight does not fit
    the dtype; nothing stays then.
    """
    with _staged(plan.out, plan.overwrite) as folder:
        summary = _write(source, base, folder, plan, "shared")
        kind = "compact" if (folder / COMPACT).exists() else "full"
        if plan.expand:
            for task in source.tasks:
                _expand(folder, kind, base, task, private.get(task, {}), plan)
        _copy_beside(base, folder, plan.dtype)
        note = json.dumps(
            {"kind": kind, "density": summary.density} | dict(plan.made),
            indent=1,
            ensure_ascii=False,
        )
        (folder / NOTE).write_text(note + "\n", encoding="utf-8")
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    expanded = {task: plan.out / task for task in source.tasks} if plan.expand else {}
    return Written(plan.out, kind, expanded, size, summary.density)


def _expand(
    folder: Path,
    kind: str,
    base: Checkpoint,
    task: str,
    own: Mapping[str, Tensor],
    plan: Plan,
) -> None:
    """One task's full checkpoint in a folder of its name, from what was just written."""
    target = folder / task
    target.mkdir()
    merged, full = (
        (read(folder), None) if kind == "compact" else (None, open_checkpoint(folder))
    )
    names = base.tensors if merged is None else merged.deltas
    spans = [
        (name, start, min(start + BLOCK, base[name].numel()))
        for name in names
        if name not in own
        for start in range(0, base[name].numel(), BLOCK)
    ]
    with ExitStack() as stack:
        sink = _Full(target, base, own, plan, stack)

        def work(span: tuple[str, int, int]) -> None:
            name, start, stop = span
            if merged is None:
                sink.write(name, start, full[name].reshape(-1)[start:stop])
            else:
                sink.put_delta(name, start, merged.delta(task, name, start, stop))

        for _ in in_order(work, spans, torch.get_num_threads()):
            pass
        sink.copy_rest(dict.fromkeys(names))
    _copy_beside(base, target, plan.dtype)


def streamed(
    stream: Stream, method: Method, on_tensor: Callable[[str], None] = lambda name: None
) -> Source:
    """A merge that runs while it is written; nothing of it is held."""
    run = lambda put: merge_into(put, stream, method, on_tensor)  # noqa: E731
    return Source(stream.tasks, stream.shapes, method.rescale is not None, run)


def held(merged: Merged) -> Source:
    """A merge in memory."""
    shapes = {name: tuple(deltas.shape[1:]) for name, deltas in merged.deltas.items()}
    shapes |= {
        name: (thin.left.shape[1], thin.right.shape[2])
        for name, thin in merged.low_rank.items()
    }

    def run(put: Put) -> Summary:
        for name, deltas in merged.deltas.items():
            rows = deltas.reshape(len(deltas), -1)
            for start in range(0, rows.shape[1], BLOCK):
                block = rows[:, start : start + BLOCK]
                masks = (
                    _unpack(merged.masks[name], start, block.shape[1])
                    if name in merged.masks
                    else None
                )
                put(name, start, block if masks is None else Masked(block[0], masks))
        for name, thin in merged.low_rank.items():
            put(name, 0, thin)
        return Summary(merged.factors, merged.density)

    return Source(merged.tasks, shapes, merged.factors is not None, run)


def _unpack(packed: Tensor, start: int, count: int) -> Tensor:
    """Masks [task, count] from packed bits, from entry start (a multiple of 8)."""
    bits = packed[:, start // 8 : _bytes(start + count)].numpy()
    return torch.from_numpy(np.unpackbits(bits, axis=1, count=count)).bool()


def read(path: Path) -> Merged:
    """The compact form, mapped: a merge result as the suite evaluates it. Its scale is
    in the
    metadata: see scale().
    """
    file = locate(path / COMPACT if path.is_dir() else path)
    note = _note(file)
    tensors = open_checkpoint(file).tensors
    deltas = {
        n.removeprefix("delta/"): t.float()
        for n, t in tensors.items()
        if n.startswith("delta/")
    }
    masks = {
        n.removeprefix("mask/"): t for n, t in tensors.items() if n.startswith("mask/")
    }
    factors = None if bool((tensors["factors"] == 1).all()) else tensors["factors"]
    return Merged(tuple(note["tasks"]), deltas, masks, factors)


def scale(path: Path) -> float:
    """The scale (lambda) that a compact form was written for."""
    return _note(locate(path / COMPACT if path.is_dir() else path))["scale"]


def _note(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            note = json.loads((opened.metadata() or {}).get("tadrop", "{}"))
    except (SafetensorError, ValueError) as error:
        raise TadropError(f"{file}: not a readable checkpoint ({error})") from error
    if note.get("format") != MERGED_FORMAT:
        raise TadropError(
            f"{file}: not a compact merge of format {MERGED_FORMAT}; export it again"
        )
    return note
