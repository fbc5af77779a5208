"""52 to 56, 61 and 62: what a method needs."""

import pytest
import torch
import yaml

from tadrop.app import meter
from tadrop.app.merging.recipes.recipe import read_recipe
from tadrop.app.verbs.checkpoints.merge import main
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests.checkpoints import family as plain
from tests.checkpoints.conditions import merged, refused


def test_52_no_base_and_53_what_needs_one(tmp_path):
    _, experts, _, thetas = plain(tmp_path, tasks=2)
    out = merged(None, experts, tmp_path / "out").path
    mean = (thetas[0]["big.weight"] + thetas[1]["big.weight"]) / 2
    torch.testing.assert_close(open_checkpoint(out)["big.weight"], mean)
    merged(None, experts, tmp_path / "turned", "slerp")
    line = "merge=ties is about differences from a base; name it"
    refused(None, experts, tmp_path / "no", line, method="ties")
    line = "TADrop sparsifies differences from a base; name it"
    refused(None, experts, tmp_path / "no", line, tadrop=True)


def test_54_slerp_of_one(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    line = "merge=slerp merges 2 models, and there are 1"
    refused(base, experts, tmp_path / "no", line, method="slerp")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"c": 1.0}, r"model.weights names 'c'; the experts are a, b"),
        ({"a": 1.0, "b": -1.0}, r"an average needs weights whose sum is not 0: \[1"),
        ({"a": float("nan")}, r"model.weights has nan; it is a number, a list of"),
        ({"a": "x"}, r"model.weights has 'x'; it is a number, a list of"),
    ],
)
def test_55_weights_that_are_none(tmp_path, values, line):
    base, experts, *_ = plain(tmp_path, tasks=2)
    refused(base, experts, tmp_path / "out", line, weights=values)


def test_55_too_many_weights(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=2)
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, (base, *experts)), "--weight", "1,2,3", "-o", "no"])
    line = "error: --weight 1,2,3: 3 values for 2 experts (a, b)"
    assert stopped.value.code == line


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("merge.scale=[1,2]", r"merge.scale=\[1,2\]: merge.scale is a number"),
        (
            "sparsify.keep=[0.1]",
            r"sparsify.keep=\[0.1\]: sparsify.keep is a number above 0 and at",
        ),
    ],
)
def test_56_a_list_where_a_number_belongs(tmp_path, word, line):
    base, experts, *_ = plain(tmp_path, tasks=1)
    more = {"method": "ties", "overrides": [word]}
    refused(base, experts, tmp_path / "out", line, **more)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"merge_method": "dare_ties"}, "merge_method dare_ties sums where the paper"),
        ({"merge_method": "linear", "slices": [1]}, "slices is not mapped"),
    ],
)
def test_61_a_recipe_of_mergekit_that_means_something_else(tmp_path, content, line):
    models = [{"model": "a", "parameters": {"weight": 1}}]
    file = tmp_path / "kit.yml"
    file.write_text(yaml.safe_dump({"models": models, "base_model": "base"} | content))
    with pytest.raises(TadropError, match=rf"kit.yml:.* {line}"):
        read_recipe(file, "out")


def test_62_a_tensor_too_large_for_the_memory(tmp_path, monkeypatch):
    base, experts, *_ = plain(tmp_path, tasks=2)
    monkeypatch.setattr(meter, "free_bytes", lambda: 1_000_000)
    line = (
        r"merge=slerp takes tensors whole: 'big.weight' \(300 x 301\) of 2 models needs "
        r"about 1.4 MB of memory, and 1.0 MB are free; .*\(average, "
    )
    refused(base, experts, tmp_path / "out", line, method="slerp")
    merged(base, experts, tmp_path / "out", "ties")
