"""Whole merges with faults: inputs are never touched, nothing that is not finite is
written, and what was there is there until the new is.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from baselines import emr, task_arithmetic
from tadrop import merge_checkpoints
from tadrop.merging.export import export
from tadrop.merging.method import Method
from tadrop.merging.source import Plan, streamed
from tadrop.types import TadropError
from tests.checkpoints import family, opened, save
from tests.storage import faults

ROOT = Path(__file__).parents[2]
SMALL = {"a.weight": (6, 4), "b": (3,)}


def digest(folder):
    """A sum of every file's name and bytes."""
    total = sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def two(folder, base, expert):
    """A base and an expert of one tensor each."""
    save(folder / "base", {"w": base})
    save(folder / "expert", {"w": expert})
    return folder / "base", [folder / "expert"]


@pytest.mark.parametrize("word", ["fp32", "fp16", "bf16", None])
@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf")])
def test_a_scale_that_is_not_finite(tmp_path, word, scale):
    base, experts = two(tmp_path, torch.ones(3), torch.ones(3) * 2)
    with pytest.raises(TadropError, match=r"merge\.scale is a number|must be a finite"):
        merge_checkpoints(base, experts, tmp_path / "out", scale=scale, dtype=word)
    assert sorted(os.listdir(tmp_path)) == ["base", "expert"]


@pytest.mark.parametrize(
    ("dtype", "word", "big", "says"),
    [
        (torch.float32, "fp16", 7e4, "'w' does not fit float16; use export.dtype=bf16"),
        (
            torch.float32,
            "bf16",
            3.4e38,
            "'w' does not fit bfloat16; use export.dtype=fp32",
        ),
        (
            torch.bfloat16,
            None,
            3e38,
            "'w' is NaN or infinite once it is merged",
        ),
        (torch.float16, None, 5e4, "'w' does not fit float16"),
        (torch.float32, None, 3e38, "'w' is NaN or infinite once it is merged"),
    ],
)
def test_what_overflows_is_refused_by_name(tmp_path, dtype, word, big, says):
    base = torch.zeros(3, dtype=dtype)
    expert = torch.tensor([big, 1.0, 0.0]).to(dtype)
    assert torch.isfinite(expert).all()
    base, experts = two(tmp_path, base, expert)
    scale = 1.0 if word else 2.0
    with pytest.raises(TadropError) as error:
        merge_checkpoints(base, experts, tmp_path / "out", scale=scale, dtype=word)
    assert says in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["base", "expert"]


@pytest.mark.parametrize("row", ["emr", "task_arithmetic"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_private_tensors_that_are_not_finite_are_refused(tmp_path, row, bad):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    for path in experts:
        state = load_file(path / "model.safetensors")
        shutil.rmtree(path)
        save(path, state | {"head": torch.tensor([1.0, bad])})
    with pytest.raises(TadropError, match="'head' is NaN or infinite"):
        merge_checkpoints(
            base, experts, tmp_path / "out", row, private=["head"], expand=True
        )


def test_json_of_an_export_is_json(tmp_path):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    merge_checkpoints(base, experts, tmp_path / "out", "emr", expand=True)
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)


def test_inputs_are_refused_as_a_place_to_write(tmp_path):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    before = digest(tmp_path)
    alias = tmp_path / "alias"
    alias.symlink_to(base)
    for out in (base, experts[1], base / "out", tmp_path, alias / "out"):
        with pytest.raises(TadropError, match="which is read for this merge"):
            merge_checkpoints(base, experts, out, overwrite=True)
    with pytest.raises(TadropError, match="is a symbolic link"):
        merge_checkpoints(base, experts, alias, overwrite=True)
    alias.unlink()
    assert digest(tmp_path) == before


def test_what_was_merged_may_be_an_input_of_the_next_merge(tmp_path):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    merge_checkpoints(base, experts, tmp_path / "out")
    with pytest.raises(TadropError, match=r"out: is .*, which is read for this merge"):
        merge_checkpoints(base, [tmp_path / "out"], tmp_path / "out", overwrite=True)


def test_a_place_is_refused_before_checkpoints_are_opened(tmp_path, monkeypatch):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    monkeypatch.setattr("tadrop.checkpoints.opening.open_checkpoint", pytest.fail)
    with pytest.raises(TadropError, match="cannot be written"):
        merge_checkpoints(base, experts, "/proc/out")


def test_a_full_disk_is_told_before_the_merge(tmp_path, monkeypatch):
    base, experts, *_ = family(tmp_path, tasks=2)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr("tadrop.merging.source.merge_into", pytest.fail)
    for row, expand in (("average", False), ("emr", False), ("average", True)):
        with pytest.raises(TadropError, match=r"GB are to be written and .* are free"):
            merge_checkpoints(base, experts, tmp_path / "out", row, expand=expand)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "base"]


STEP = 9  # every so many calls in the default tests; all of them in the slow one


EMR = Method(emr.merge, tally=emr.tally, rescale=emr.rescale)
TA = Method(task_arithmetic.merge)


def written(stream, method, out, scale=0.3):
    """A merge with every task's full checkpoint, in the place of what was there."""
    inputs = [one.path for one in (stream.base, *stream.experts.values())]
    plan = Plan(out, scale, expand=True, overwrite=True, inputs=tuple(inputs))
    export(streamed(stream, method), stream.base, {}, plan)


def faulted(tmp_path, row, fault, step):
    """Faults in a merge that replaces another; returns how many there were."""
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    inputs = digest(tmp_path)
    outs = tmp_path / "outs"
    outs.mkdir()
    out = outs / "out"

    stream = opened(base, experts)

    def first():
        written(stream, TA, out)

    def write():
        written(stream, EMR if row == "emr" else TA, out, 0.7)

    first()
    old = digest(out)
    calls = faults.counted(write, outs)
    new = digest(out)
    numbers = range(1, calls + 1, step)
    for number in numbers:
        shutil.rmtree(out)
        first()
        with (
            suppress(TadropError, OSError, KeyboardInterrupt),
            faults.injected(number, fault, below=outs),
        ):
            write()
        assert not out.exists() or digest(out) in (old, new), number
        write()
        assert digest(out) == new
        assert os.listdir(outs) == ["out"]
    shutil.rmtree(outs)
    assert digest(tmp_path) == inputs
    return len(numbers)


@pytest.mark.parametrize("fault", [faults.disk_error, faults.interrupted])
def test_a_fault_leaves_the_old_or_the_new(tmp_path, fault):
    assert faulted(tmp_path, "emr", fault, STEP) > 15


@pytest.mark.slow
@pytest.mark.parametrize("row", ["emr", "average"])
@pytest.mark.parametrize(
    "fault", [faults.disk_error, faults.disk_full, faults.interrupted]
)
def test_a_fault_at_every_call_leaves_the_old_or_the_new(tmp_path, row, fault):
    assert faulted(tmp_path, row, fault, 1) > 100


DYING = """
import sys
from pathlib import Path
from tadrop import merge_checkpoints
from tests.storage import faults

folder, number = Path(sys.argv[1]), int(sys.argv[2])
experts = [folder / "a", folder / "b"]
with faults.injected(number, faults.killed, below=folder / "outs"):
    merge_checkpoints(
        folder / "base", experts, folder / "outs" / "out", "emr",
        expand=True, overwrite=True,
    )
"""


@pytest.mark.slow
def test_a_killed_merge_is_followed_by_one_that_ends(tmp_path):
    base, experts, *_ = family(tmp_path, tasks=2, shapes=SMALL)
    out = tmp_path / "outs" / "out"
    merge_checkpoints(base, experts, out, "average")
    old, kills = digest(out), 0
    for number in (20, 60, 100, 120, 135, 140):
        words = [sys.executable, "-c", DYING, str(tmp_path), str(number)]
        kills += subprocess.run(words, cwd=ROOT, capture_output=True).returncode < 0
    merge_checkpoints(base, experts, out, "emr", expand=True, overwrite=True)
    assert digest(out) != old
    assert os.listdir(tmp_path / "outs") == ["out"]
    assert kills > 3
