"""Statistics are measured once, kept, and read as task vectors are."""

import torch

from baselines import fisher, regmean
from tadrop.evaluation.statistics import gather
from tests import tiny
from tests.evaluation.measuring import fisher_measurement, merged_names


def test_statistics_are_kept_and_measured_anew_when_anything_changes(bench, tmp_path):
    names, cache = merged_names(bench), tmp_path / "cache"
    first = gather(fisher_measurement(), bench, names, cache)
    files = {f: f.stat().st_mtime_ns for f in cache.rglob("*.safetensors")}
    again = gather(fisher_measurement(), bench, names, cache)
    assert {f: f.stat().st_mtime_ns for f in cache.rglob("*.safetensors")} == files
    assert torch.equal(first.read("first.weight"), again.read("first.weight"))
    for changed in (
        {"examples": 5},
        {"batch": 2},
        {"seed": 1},
        {"collect": fisher.batch_squared},
        {"split": "test"},
    ):
        before = len(list(cache.rglob("*.safetensors")))
        gather(fisher_measurement(**changed), bench, names, cache)
        assert len(list(cache.rglob("*.safetensors"))) == before + len(bench.experts)


def test_the_same_bits_twice(bench, tmp_path):
    names = merged_names(bench)
    for collect in (fisher.exact, fisher.batch_squared, regmean.gram):
        runs = [
            gather(fisher_measurement(collect=collect), bench, names, tmp_path / str(i))
            for i in range(2)
        ]
        for name in ("first.weight", "second.weight"):
            assert torch.equal(runs[0].read(name), runs[1].read(name))


def test_blocks_are_sliced_as_task_vectors_are(bench, tmp_path):
    statistics = gather(
        fisher_measurement(), bench, merged_names(bench), tmp_path / "cache"
    )
    whole = statistics.read("second.weight")
    assert whole.shape == (3, tiny.WIDTH, tiny.WIDTH)
    assert torch.equal(
        statistics.read("second.weight", 5, 17), whole.flatten(1)[:, 5:17]
    )
    assert statistics.read("no such tensor") is None
