"""tadrop as a library: two functions. Nothing heavy is imported before a call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from tadrop.merging.export import Written

PIECE = 1 << 20  # entries cut at a time


def merge_checkpoints(
    base: str | Path | None,
    experts: Sequence[str | Path],
    out: str | Path,
    merge: str = "task_arithmetic",
    *,
    tadrop: bool = False,
    scale: float | None = None,
    private: Sequence[str] = (),
    dtype: str | None = None,
    expand: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
    shard_size: str = "5GB",
    **family: Any,
) -> Written:
    """Merges checkpoints of one architecture on disk into the folder `out`.

    base, experts: folders or files, safetensors (also sharded) or torch; LoRA folders as
                   experts; NAME=PATH; ORG/NAME[@REVISION] of the hub; a base of None
                   where the row needs none
    merge:         a row of conf/merge: average, task_arithmetic, ties, dare, emr, ...
    tadrop:        whether TADrop sparsifies, in the place of the row's own rule
    scale:         lambda; None for the row's own
    private:       patterns of tensors that stay each expert's own (heads)
    dtype:         fp32, fp16 or bf16; None for the base's
    expand:        also write each task's full checkpoint to out/TASK
    overrides:     anything else as on the command line, such as "tadrop.q_lo=0.7"
    shard_size:    the most bytes of one file
    family:        what else models.local takes: weights, density, t, tokenizer, keep_base,
                   statistics, round_base, force, matrices

    Returns what was written and where. Raises TadropError, naming the file and the
    tensor, if the checkpoints do not fit.
    """
    from tadrop.app.merging.request import Request
    from tadrop.app.merging.running import run

    model = {"private": list(private), **family}
    words = (None if base is None else str(base)), list(map(str, experts)), str(out)
    method = merge, tadrop, scale, tuple(overrides), model
    return run(Request(*words, *method, dtype, expand, shard_size, overwrite))


def tadrop_(
    tau: Tensor, q_lo: float = 0.8, q_hi: float = 0.9, norm: str = "l1"
) -> Tensor:
    """Tensor-wise Adaptive Drop of one task vector's tensor, in place; returns it.

    Drops the fraction Q_lo / Q_hi of the smallest magnitudes and rescales the survivors
    to the tensor's l1 or l2 norm (arXiv 2508.06163). The defaults are those of
    conf/tadrop/on.yaml. Raises TadropError if an entry is NaN or infinite.
    """
    import torch

    from tadrop.numerics.threads import in_order
    from tadrop.sparsify.tadrop import TADrop
    from tadrop.types import Vector

    rule = TADrop(q_lo, q_hi, norm)
    with torch.no_grad():
        flat = tau.detach().float().reshape(-1)
        cut = rule.plan(Vector.of(flat, name="tau"))
        starts = range(0, flat.numel(), PIECE)
        threads = torch.get_num_threads() if tau.device.type == "cpu" else 1

        def cut_piece(start: int) -> None:
            cut.apply_(flat[start : start + PIECE], start)

        for _ in in_order(cut_piece, starts, threads):
            pass
        if flat.data_ptr() != tau.data_ptr():  # flat is a copy, of another dtype say
            tau.copy_(flat.view(tau.shape))
        return tau
