"""Rows as a user meets them: listed by --help, told of matrices by the backbone, tuned, and added
in two files.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tadrop.app.console import Progress
from tadrop.app.runs import selecting as choosing
from tadrop.app.runs.preparing import Prepared
from tadrop.app.verbs.methods import listing
from tadrop.evaluation import selection as selecting
from tadrop.models import glyph_vit
from tadrop.models.matrices import matrix_layouts
from tadrop.models.clip import names as clip_names
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magprune import MagPrune
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import MatrixLayout, Score, TadropError, Vector
from tadrop.vectors.merged import Merged, materialise
from tests.golden import TAUS, golden, stream_of

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "tadrop/assets/glyph_vit"


def config(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


def test_help_lists_every_row_with_its_paper():
    done = subprocess.run(
        [sys.executable, "run.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in (ROOT / "conf/merge").glob("*.yaml"):
        assert f"\n{path.stem:<20} " in done.stdout, path.stem
    assert "Task Singular Vectors, merged" in done.stdout
    assert "[arXiv 2412.00081]" in done.stdout
    assert listing() in done.stdout


# --- layouts


def test_the_embedded_backbone_names_its_linear_layers():
    model = instantiate(config().model)
    module = glyph_vit.build()
    shapes = {
        n: tuple(p.shape)
        for n, p in module.named_parameters()
        if not n.startswith("head.")
    }
    told = matrix_layouts(model.name, model.matrices, shapes)
    linear = {
        f"{name}.weight"
        for name, part in module.named_modules()
        if isinstance(part, torch.nn.Linear) and name.startswith("blocks")
    }
    assert set(told) == linear
    assert told["blocks.0.qkv.weight"] == MatrixLayout("linear", blocks=3)


def test_the_first_entry_that_fits_says_the_layout():
    matrices = [{"names": "a.*", "transposed": True}, {"names": "*.w", "kind": "table"}]
    told = matrix_layouts("m", matrices, {"a.w": (2, 3), "b.w": (4, 5), "b.bias": (4,)})
    assert told == {"a.w": MatrixLayout("linear", transposed=True), "b.w": MatrixLayout("table")}


@pytest.mark.parametrize(
    ("entry", "shapes", "message"),
    [
        ({"names": "x.*"}, {"a": (2, 2)}, "no merged tensor is called so"),
        ({"names": "a"}, {"a": (2,)}, r"whose shape is \[2\]"),
        ({"names": "a", "blocks": 3}, {"a": (4, 6)}, "not 3 equal blocks"),
        ({"names": "a", "kind": "conv"}, {"a": (4, 6)}, "kind is 'conv'"),
    ],
)
def test_wrong_layouts_are_refused(entry, shapes, message):
    with pytest.raises(TadropError, match=message):
        matrix_layouts("m", [entry], shapes)


@pytest.mark.parametrize("layout", ["split", "fused"])
def test_clip_tells_its_matrices_in_either_layout(layout):
    names = [n for p in clip_names.vision_pairs(2, True) for n in p.names(layout)]
    flat = (
        "bias",
        "in_proj_bias",
        "class_embedding",
        "patch_embedding.weight",
        "conv1.weight",
    )
    vectors = [
        n
        for n in names
        if n.endswith(flat) or "norm" in n or "layrnorm" in n or ".ln_" in n
    ]
    shapes = {n: (6,) if n in vectors else (6, 6) for n in names}
    told = matrix_layouts("clip", clip_names.matrices(layout, projection=True), shapes)
    assert set(told) == set(names) - set(vectors)
    assert sum(one.kind == "linear" for one in told.values()) == 2 * (
        6 if layout == "split" else 4
    )


# --- cuts by rows


def test_cuts_by_rows_see_whole_rows_in_any_piece():
    taus = {
        f"t{i}": {"w": torch.randn(7, 10, generator=torch.Generator().manual_seed(i))}
        for i in range(2)
    }
    stream = Sparse(stream_of(taus), MagPrune(0.5, 0.4, seed=0))
    whole = stream.taus("w").reshape(2, -1)
    for start, stop in ((0, 8), (8, 24), (24, 70), (64, 70), (3, 5)):
        assert torch.equal(stream.taus("w", start, stop), whole[:, start:stop])
    in_pieces = Vector(
        "t0", "w", (7, 10), 70, lambda: iter(taus["t0"]["w"].reshape(-1).split(16))
    )
    source = SimpleNamespace(
        vector=lambda task, name: in_pieces,
        tasks=("t0",),
        names=("w",),
        shapes={"w": (7, 10)},
    )
    pieces = list(Sparse(source, MagPrune(0.5, 0.4, seed=0)).vector(0, "w").pieces())
    assert len(pieces) > 1
    assert torch.equal(torch.cat(pieces), whole[0])


# --- knobs


def scores(**values):
    return [
        Score(task, "validation", "accuracy", value, 10)
        for task, value in values.items()
    ]


def test_each_task_takes_its_best_and_the_first_among_equals():
    points = [
        selecting.trial({"k": 0.2}, 1, scores(a=0.5, b=0.9)),
        selecting.trial({"k": 0.4}, 1, scores(a=0.8, b=0.9)),
        selecting.trial({"k": 0.6}, 1, scores(a=0.7, b=0.1)),
    ]
    assert selecting.per_task("k", points) == [0.4, 0.2]
    chosen = selecting.best(points)
    assert (chosen.knobs, chosen.scale, chosen.split) == ({"k": 0.4}, 1, "validation")
    assert chosen.grid == ((1.0, pytest.approx(0.85)),)
    assert len(chosen.trials) == 3


def test_combinations_leave_out_what_is_per_task():
    tune = {
        "a": {"grid": [2, 1]},
        "b": {"grid": [3, 4]},
        "c": {"grid": [5], "each": "task"},
    }
    assert selecting.combinations(tune) == [
        {"a": a, "b": b} for a in (1, 2) for b in (3, 4)
    ]
    assert selecting.combinations({}) == [{}]
    assert selecting.count(tune, scales=10) == 41


def tuned(row, monkeypatch, judge):
    """Runs the selection of a row on the golden stream, scored by judge(task, merged, scale)."""

    def evaluate(bench, merged, scale, split, names=None, on_task=lambda score: None):
        assert split == "validation"
        return [
            Score(t, split, "accuracy", judge(t, merged, scale), 1)
            for t in merged.tasks
        ]

    monkeypatch.setattr(choosing, "evaluate", evaluate)
    cfg = config(f"merge={row}", "select=grid")
    stream = golden()
    bench = SimpleNamespace(tasks=SimpleNamespace(names=stream.tasks))
    prepared = Prepared(cfg, stream, stream, bench)
    merged = choosing.merge(prepared, cfg.merge.method, Progress())
    return choosing.select(prepared, merged, Progress())


def kept(merged, task):
    return sum(int((merged.delta(task, n) != 0).sum()) for n in merged.names)


def test_tall_masks_are_tuned_task_by_task(monkeypatch):
    wanted = {"t1": 0.2, "t2": 0.6, "t3": 0.4}
    by_lambda = {value: kept_at(value) for value in (0.2, 0.3, 0.4, 0.5, 0.6)}
    judge = lambda task, merged, scale: (
        -abs(kept(merged, task) - by_lambda[wanted[task]][task])
    )  # noqa: E731
    merged, selection = tuned("tall_mask", monkeypatch, judge)
    assert [kept(merged, t) for t in merged.tasks] == [
        by_lambda[wanted[t]][t] for t in merged.tasks
    ]
    assert all(
        by_lambda[k][t] == by_lambda[wanted[t]][t]
        for t, k in zip(wanted, selection.knobs["lambdas"], strict=True)
    )
    assert len(selection.trials) == 5 + 1
    assert selection.rule == "grid"


def kept_at(value):
    cfg = config("merge=tall_mask", f"merge.knobs.lambdas={value}")
    prepared = Prepared(cfg, golden(), golden())
    merged = choosing.merge(prepared, cfg.merge.method, Progress())
    return {task: kept(merged, task) for task in merged.tasks}


def test_consensus_tunes_masks_with_tall_models_and_then_the_rest_together(monkeypatch):
    def judge(task, merged, scale):
        return (
            0.0
            if not merged.is_shared
            else -abs(scale - 0.7) - abs(kept(merged, task) - 9)
        )

    merged, selection = tuned("consensus_ta", monkeypatch, judge)
    assert selection.scale == 0.7
    assert selection.knobs["lambdas"] == [0.2, 0.2, 0.2]
    assert len(selection.trials) == 5 + 3 * 10
    assert len(selection.grid) == 10
    assert merged.is_shared
    assert all(trial["scale"] == 1.0 for trial in selection.trials[:5])


def test_pcb_tunes_its_ratio_with_the_scale(monkeypatch):
    judge = lambda task, merged, scale: scale + kept(merged, task)  # noqa: E731
    merged, selection = tuned("pcb", monkeypatch, judge)
    assert (selection.knobs, selection.scale) == ({"ratio": 0.2}, 2.2)
    assert merged.names


def test_fixed_takes_what_the_row_says():
    cfg = config("merge=pcb")
    merged = Merged(("t1",), {})
    prepared = Prepared(cfg, golden(), golden())
    same, selection = choosing.select(prepared, merged, Progress())
    assert same is merged
    assert (selection.rule, selection.scale, dict(selection.knobs)) == (
        "fixed",
        1.2,
        {"ratio": 0.05},
    )


# --- two files


FORMULA = '''"""The median task vector, entry by entry."""


def merge(taus):
    return taus.median(0, keepdim=True).values
'''
ROW = """# The median of the task vectors.
name: median
title: Median
paper: null
data: none
method:
  _target_: tadrop.types.Method
  merge: {_target_: baselines.median.merge, _partial_: true}
scale: 1.0
scale_grid: [1.0]
"""


@pytest.mark.skipif(
    not (ASSETS / "hebrew.safetensors").exists(),
    reason="the embedded checkpoints are not here",
)
def test_a_method_is_two_files(tmp_path):
    for part in ("conf", "baselines", "experiments"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "run.py", tmp_path)
    (tmp_path / "tadrop").symlink_to(ROOT / "tadrop")
    (tmp_path / "baselines/median.py").write_text(FORMULA)
    (tmp_path / "conf/merge/median.yaml").write_text(ROW)
    words = [
        "merge=median",
        "tasks.names=[latin_upper,hebrew]",
        "limit=20",
        f"paths.cache={ROOT / '.cache'}",
    ]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Median" in done.stdout
    assert len(list((tmp_path / "results/records").glob("*.json"))) == 3


def test_materialise_of_thin_factors_and_one_factor():
    cfg = config("merge=tsv_c")
    stream = replace(golden("t1", "t2"), matrix_layouts={"A": MatrixLayout("linear")})
    prepared = Prepared(cfg, stream, stream)
    merged = choosing.merge(prepared, cfg.merge.method, Progress())
    base = Checkpoint(
        Path("base"), (), {n: torch.zeros_like(t) for n, t in TAUS["t1"].items()}
    )
    weights = dict(materialise(base, merged, "t1", 2.0))
    assert torch.equal(weights["A"], 2 * merged.delta("t1", "A"))
    one = Merged(("t1", "t2"), {"b": torch.ones(1, 2)}, factors=torch.tensor([0.5]))
    assert one.is_shared
    assert one.delta("t2", "b").tolist() == [0.5, 0.5]
