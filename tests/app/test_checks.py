"""What is said of a configuration, and of checkpoints, before anything is computed."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tadrop import merge_checkpoints
from tadrop.app.places import RECORDS
from tadrop.app.runs import build
from tadrop.app.runs.checks import check
from tadrop.app.schema.composing import composed
from tadrop.errors import TadropError
from tadrop.results import identity


@pytest.fixture
def checkpoints(tmp_path):
    """A base and two experts of two tensors."""
    places = []
    for name in ("base", "one", "two"):
        tensors = {
            "body.weight": torch.randn(4, 3),
            "classifier.weight": torch.randn(2, 4),
        }
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
        places.append(tmp_path / name)
    return places


def test_a_private_pattern_that_fits_no_tensor_is_refused(checkpoints, tmp_path):
    base, *experts = checkpoints
    out = tmp_path / "out"
    said = r"model\.private=\[clasifier\.\*\]: no tensor is called so; did you mean cl"
    with pytest.raises(TadropError, match=said):
        merge_checkpoints(base, experts, out, private=["clasifier.*"])
    assert not out.exists()
    merge_checkpoints(base, experts, out, private=["classifier.*"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scale": float("nan")}, r"merge\.scale=nan: merge\.scale is a number"),
        ({"merge": "emrr"}, r"merge=emrr: conf/merge has no such file; did you mean"),
        ({"dtype": "fp8"}, r"export\.dtype=fp8: export\.dtype is fp32, fp16, bf16"),
        ({"overrides": ["limt=5"]}, "did you mean limit"),
        ({"overrides": ["tadrop.q_lo=0.5"]}, "tadrop is off, and this changes nothing"),
    ],
)
def test_the_library_is_checked_by_the_same_schema(checkpoints, tmp_path, given, said):
    base, *experts = checkpoints
    with pytest.raises(TadropError, match=said):
        merge_checkpoints(base, experts, tmp_path / "out", **given)


def test_a_model_is_asked_for_tasks_that_it_can_take():
    words = ["model=local", "model.base=a", "model.experts=[b,c]"]
    with pytest.raises(TadropError, match="evaluate=false"):
        check(composed(words))


@pytest.mark.parametrize("word", ["tadrop.q_lo=0.5", "tadrop.norm=none"])
def test_with_tadrop_off_its_settings_make_no_run_of_their_own(word):
    plain = build.resolved(composed(["merge=ties", "tadrop=off"]))
    other = build.resolved(composed(["merge=ties", "tadrop=on", word]))
    off = other | {"tadrop": other["tadrop"] | {"assign": identity.OFF}}
    assert identity.key(off) == identity.key(plain)
    assert identity.key(plain | {"tadrop": None}) == identity.key(plain)
    assert identity.settings(off)["tadrop"] is None
    assert identity.steps(off) == ["sparsify"]


def test_every_record_still_has_the_name_of_its_settings():
    records = sorted(RECORDS.glob("*.json"))
    assert records
    for path in records:
        record = json.loads(path.read_text())
        assert identity.key_of(record["config"]) == record["key"] == path.stem
