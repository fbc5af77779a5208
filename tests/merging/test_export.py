"""Merging checkpoints on disk into checkpoints on disk, as a user calls it and piece by piece."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from baselines import emr, opcm, reference, task_arithmetic, ties
from tadrop import merge_checkpoints
from tadrop.merging.engine import merge
from tadrop.merging.export import export
from tadrop.merging.method import Method
from tadrop.merging.source import DTYPES, Plan, held, streamed
from tadrop.numerics import compiled
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.tadrop import TADrop
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tadrop.vectors.merged import materialise
from tests.checkpoints import family, opened, save, weights

ROOT = Path(__file__).parents[2]
EMR = Method(emr.merge, tally=emr.tally, rescale=emr.rescale, compiled=emr.fused)
TA = Method(task_arithmetic.merge, compiled=task_arithmetic.fused)


@pytest.mark.parametrize("layout", ["single", "sharded", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_task_arithmetic_by_hand(tmp_path, layout, dtype):
    base, experts, theta0, thetas = family(tmp_path, dtype=dtype, form=layout)
    written = merge_checkpoints(
        base, experts, tmp_path / "out", "task_arithmetic", scale=0.3
    )
    assert written.kind == "full"
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert merged.keys() == theta0.keys()
    assert torch.equal(merged["steps"], theta0["steps"])
    for name in set(theta0) - {"steps"}:
        taus = [theta[name].float() - theta0[name].float() for theta in thetas]
        expected = (theta0[name].float() + 0.3 * (taus[0] + taus[1] + taus[2])).to(
            dtype
        )
        assert torch.equal(merged[name], expected), name


@pytest.mark.parametrize("word", ["fp32", "fp16", "bf16"])
def test_export_dtype_and_configuration_files(tmp_path, word):
    base, experts, theta0, _ = family(tmp_path)
    (base / "config.json").write_text(
        json.dumps({"model_type": "x", "torch_dtype": "float32"})
    )
    (base / "tokenizer.json").write_text("{}")
    (base / "optimizer.pt").write_text("no")
    merge_checkpoints(base, experts, tmp_path / "out", "average", dtype=word)
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert {t.dtype for n, t in merged.items() if n != "steps"} == {DTYPES[word]}
    assert merged["steps"].dtype == theta0["steps"].dtype
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {
        "model_type": "x",
        "torch_dtype": str(DTYPES[word]).removeprefix("torch."),
    }
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tadrop.json",
        "tadrop.yaml",
        "README.md",
    }


def test_metadata_says_how_it_was_made(tmp_path):
    base, experts, *_ = family(tmp_path)
    merge_checkpoints(
        base,
        experts,
        tmp_path / "out",
        "ties",
        tadrop=True,
        overrides=["tadrop.q_lo=0.7"],
    )
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        made = json.loads(file.metadata()["tadrop"])
    assert made["merge"]["name"] == "ties"
    assert made["tadrop"]["q_lo"] == 0.7
    assert list(made["checkpoints"]) == ["base", "experts"]
    assert list(made["checkpoints"]["experts"]) == ["a", "b", "c"]
    assert str(tmp_path) not in json.dumps(made)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("row", ["average", "ties", "dare", "emr"])
@pytest.mark.parametrize("tadrop", [False, True])
def test_bits_depend_on_neither_threads_nor_the_compiler(
    tmp_path, row, tadrop, monkeypatch
):
    base, experts, *_ = family(tmp_path)
    monkeypatch.setattr("tadrop.vectors.passes.PIECE", 9000)
    monkeypatch.setattr("tadrop.vectors.passes.SPAN", 20_000)
    sums = set()
    before = torch.get_num_threads()
    for number, (threads, least) in enumerate(
        [(1, 1 << 60), (3, 1 << 60), (2, 0), (1, 0)]
    ):
        torch.set_num_threads(threads)
        monkeypatch.setattr(compiled, "FROM", least)
        out = tmp_path / f"out{number}"
        merge_checkpoints(base, experts, out, row, tadrop=tadrop)
        sums.add(sha256(next(out.glob("*.safetensors"))))
    torch.set_num_threads(before)
    assert len(sums) == 1


@pytest.mark.parametrize(
    "row", [TA, Method(ties.merge, survey=ties.survey, compiled=ties.fused), EMR]
)
@pytest.mark.parametrize("rule", [None, TADrop(0.8, 0.95, "l2"), Dare(0.3, 0)])
def test_blocks_give_the_bits_of_whole_tensors(tmp_path, row, rule, monkeypatch):
    base, experts, *_ = family(tmp_path)
    stream = opened(base, experts)
    stream = stream if rule is None else Sparse(stream, rule)
    monkeypatch.setattr(compiled, "FROM", 1 << 60)
    whole = merge(stream, row)
    monkeypatch.setattr(compiled, "FROM", 0)
    monkeypatch.setattr("tadrop.vectors.passes.PIECE", 1000)
    blocks = merge(
        Sparse(opened(base, experts), rule) if rule else opened(base, experts), row
    )
    for name in stream.names:
        assert torch.equal(
            whole.deltas[name].view(torch.int32), blocks.deltas[name].view(torch.int32)
        ), name
        assert name not in whole.masks or torch.equal(
            whole.masks[name], blocks.masks[name]
        )
    assert whole.density == blocks.density
    if row.rescale:
        torch.testing.assert_close(whole.factors, blocks.factors, rtol=2e-7, atol=0)


def test_a_merge_in_memory_is_written_the_same(tmp_path):
    base, experts, *_ = family(tmp_path)
    stream = opened(base, experts)
    for number, method in enumerate((TA, EMR, Method(reference.individual))):
        files = []
        for kind, source in (
            ("a", streamed(stream, method)),
            ("b", held(merge(stream, method))),
        ):
            out = tmp_path / f"{kind}{number}"
            export(source, stream.base, {}, Plan(out, 0.3))
            files.append(sha256(next(out.glob("*.safetensors"))))
        assert files[0] == files[1]


def test_shards_and_their_index(tmp_path):
    base, experts, *_ = family(tmp_path)
    stream = opened(base, experts)
    written = export(
        streamed(stream, TA), stream.base, {}, Plan(tmp_path / "out", 0.3, shard=5000)
    )
    names = sorted(path.name for path in written.path.glob("*.safetensors"))
    assert len(names) > 1
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    whole = dict(materialise(stream.base, merge(stream, TA), "a", 0.3))
    again = open_checkpoint(written.path)
    assert all(torch.equal(again[name], whole[name]) for name in stream.names)
    assert torch.equal(again["steps"], torch.arange(5))


def test_heads_stay_each_tasks_own(tmp_path):
    base, experts, *_ = family(tmp_path)
    heads = {}
    for number, path in enumerate(experts):
        state = load_file(path / "model.safetensors")
        heads[path.name] = state["head.weight"] = torch.full(
            (number + 2, 24), float(number)
        )
        save(tmp_path / "with" / path.name, state)
    paths = [tmp_path / "with" / path.name for path in experts]
    with pytest.raises(
        TadropError,
        match=r"c does not fit .*base: 1 are not in the base: head.weight \(if they are "
        r"the task's own, heads: --private 'head\.\*'\)",
    ):
        merge_checkpoints(base, paths, tmp_path / "out")
    merge_checkpoints(base, paths, tmp_path / "out", private=["head.*"], expand=True)
    assert "head.weight" not in load_file(tmp_path / "out" / "model.safetensors")
    for task, head in heads.items():
        assert torch.equal(
            load_file(tmp_path / "out" / task / "model.safetensors")["head.weight"],
            head,
        )


def test_tied_tensors_are_written_once_and_merged_as_one(tmp_path):
    for name, seed in (("base", 0), ("a", 1), ("b", 2)):
        state = weights(seed, shapes={"wte": (60, 8), "norm": (8,)})
        save(tmp_path / name, state | {"lm_head": state["wte"]}, "torch")
    stream = opened(tmp_path / "base", [tmp_path / "a", tmp_path / "b"])
    assert stream.names == ("lm_head", "norm")
    written = merge_checkpoints(
        tmp_path / "base", [tmp_path / "a", tmp_path / "b"], tmp_path / "out", "dare"
    )
    again = open_checkpoint(written.path)
    assert list(again.tensors) == ["norm", "wte"]
    assert again.aliases == {"lm_head": "wte"}
    only_wte = weights(3, shapes={"wte": (60, 8), "norm": (8,)})
    save(tmp_path / "c", only_wte)
    merge_checkpoints(tmp_path / "base", [tmp_path / "c"], tmp_path / "out2", "average")
    torch.testing.assert_close(
        open_checkpoint(tmp_path / "out2")["wte"], only_wte["wte"]
    )
    save(tmp_path / "d", only_wte | {"lm_head": only_wte["wte"] + 1})
    merge_checkpoints(tmp_path / "base", [tmp_path / "d"], tmp_path / "out3", "average")
    apart = open_checkpoint(tmp_path / "out3")
    torch.testing.assert_close(apart["lm_head"], only_wte["wte"] + 1)
    torch.testing.assert_close(apart["wte"], only_wte["wte"])


def test_from_pretrained_loads_what_was_written(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    models = []
    for seed, name in enumerate(("base", "x", "y")):
        torch.manual_seed(seed)
        models.append(CLIPVisionModel(config))
        models[-1].save_pretrained(tmp_path / name)
    merge_checkpoints(
        tmp_path / "base", [tmp_path / "x", tmp_path / "y"], tmp_path / "out", "average"
    )
    loaded, report = CLIPVisionModel.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(
        report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    with torch.no_grad():
        for mine, one, two in zip(
            loaded.parameters(),
            models[1].parameters(),
            models[2].parameters(),
            strict=True,
        ):
            torch.testing.assert_close(mine, (one + two) / 2, rtol=0, atol=1e-6)


def command(*words):
    return subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_command_line(tmp_path):
    base, experts, *_ = family(tmp_path)
    inputs = [
        "model=local",
        f"model.base={base}",
        f"model.experts=[{','.join(map(str, experts))}]",
        "evaluate=false",
    ]
    done = command(*inputs, "merge=ties", "tadrop=on", f"export.dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'out'} (full" in done.stdout
    done = command(*inputs, "merge=ties")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "error: evaluate=false only merges: say where to, export.dir=OUT"
    )


def halved(sums, sizes):
    """One factor for all tasks, known only when everything is merged."""
    return torch.tensor([0.5])


def differing(sums, sizes):
    """A factor for each of three tasks."""
    return torch.tensor([0.25, 0.5, 2.0])


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_factor_that_all_tasks_share_makes_one_model(tmp_path, dtype):
    """As OPCM's, whose merge was written in the compact form."""
    stream = opened(*family(tmp_path)[:2])
    method = Method(task_arithmetic.merge, tally=opcm.tally, rescale=halved)
    plan = Plan(tmp_path / "out", 0.3, dtype)
    written = export(streamed(stream, method), stream.base, {}, plan)
    assert written.kind == "full"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "merged.safetensors" not in names
    assert not any(name.startswith(".") for name in names)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    expected = materialise(stream.base, merge(stream, method), "a", 0.3)
    for name, weight in expected:
        assert torch.equal(stored[name], weight.to(dtype or weight.dtype)), name


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_factors_that_differ_stay_compact(tmp_path, dtype):
    stream = opened(*family(tmp_path)[:2])
    method = Method(task_arithmetic.merge, tally=opcm.tally, rescale=differing)
    plan = Plan(tmp_path / "out", 0.3, dtype)
    written = export(streamed(stream, method), stream.base, {}, plan)
    assert written.kind == "compact"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not any(name.startswith(".") for name in names)
    stored = load_file(tmp_path / "out" / "merged.safetensors")
    assert stored["factors"].tolist() == [0.25, 0.5, 2.0]
    merged = merge(stream, method)
    for name in stream.names:
        delta = merged.deltas[name].to(dtype or torch.float32)
        assert torch.equal(stored[f"delta/{name}"], delta), name
