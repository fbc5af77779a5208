"""The compact form of an export: what differs by task is read back and expanded."""

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from baselines import emr
from tadrop import merge_checkpoints
from tadrop.merging import compact
from tadrop.merging.engine import merge
from tadrop.merging.export import export
from tadrop.merging.method import Method
from tadrop.merging.source import Plan, streamed
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.vectors.merged import materialise
from tests.checkpoints import family, opened

EMR = Method(emr.merge, tally=emr.tally, rescale=emr.rescale, compiled=emr.fused)


def test_compact_form_reads_back_and_expands(tmp_path):
    base, experts, *_ = family(tmp_path)
    merged = merge(opened(base, experts), EMR)
    written = merge_checkpoints(base, experts, tmp_path / "out", "emr", expand=True)
    assert written.kind == "compact"
    again = compact.read(tmp_path / "out")
    assert again.tasks == merged.tasks
    assert compact.scale(tmp_path / "out") == 1.0
    for task in merged.tasks:
        full = open_checkpoint(written.expanded[task])
        for name, expected in materialise(open_checkpoint(base), merged, task, 1.0):
            assert torch.equal(again.delta(task, name), merged.delta(task, name))
            assert torch.equal(full[name], expected)
        assert torch.equal(full["steps"], torch.arange(5))
    with safe_open(tmp_path / "out" / "merged.safetensors", framework="pt") as file:
        assert file.get_slice("mask/big.weight").get_shape() == [
            3,
            (300 * 301 + 7) // 8,
        ]
        assert file.get_slice("delta/big.weight").get_shape() == [1, 300, 301]


def test_a_delta_per_task_reads_back(tmp_path):
    base, experts, _, thetas = family(tmp_path)
    merge_checkpoints(base, experts, tmp_path / "out", "individual", expand=True)
    for path, theta in zip(experts, thetas, strict=True):
        full = load_file(tmp_path / "out" / path.name / "model.safetensors")
        for name, expected in theta.items():
            torch.testing.assert_close(full[name], expected, rtol=0, atol=3e-7)


def test_a_method_may_widen_half_way(tmp_path):
    """One model for vectors, one a task for matrices, masks for the last tensor: the file holds all
    of them.
    """
    base, experts, *_ = family(tmp_path)

    def mixed(taus):
        if taus.dim() == 2:
            return taus.mean(0, keepdim=True)
        return emr.merge(taus) if taus.shape[-1] == 24 else taus

    stream = opened(base, experts)
    method = Method(mixed, scope="tensor")
    export(streamed(stream, method), stream.base, {}, Plan(tmp_path / "out"))
    again = compact.read(tmp_path / "out")
    expected = {name: mixed(stream.taus(name)) for name in stream.names}
    assert torch.equal(again.delta("b", "big.weight"), expected["big.weight"][1])
    assert torch.equal(again.delta("b", "norm.weight"), expected["norm.weight"][0])
    shared, masks = expected["block.weight"]
    assert torch.equal(again.delta("b", "block.weight"), shared * masks[1])
