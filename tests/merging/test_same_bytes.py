"""One merge, whatever it runs on: the same bytes."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tadrop import merge_checkpoints
from tadrop.numerics import compiled
from tadrop.vectors import passes, task_vectors

METHODS = ("ties", "task_arithmetic", "dare_ties", "emr", "tsv_m")
SHAPES = {"a.weight": (40, 30), "a.bias": (40,), "b.weight": (300, 70), "c": ()}


def tensors(seed, shapes, dtype):
    draws = torch.Generator().manual_seed(seed)
    values = {}
    for name, shape in shapes.items():
        values[name] = torch.randn(shape, generator=draws).to(dtype)
    return values


def world(folder, shapes, count=3, dtype=torch.float32):
    """A base and experts on disk; returns the folders, the base first."""
    places = []
    for number in range(count + 1):
        place = folder / f"model{number}"
        place.mkdir(parents=True)
        save_file(tensors(number, shapes, dtype), place / "model.safetensors")
        places.append(place)
    return places


def merged(places, out, method="ties", **options):
    """The bytes of what a merge writes, by the name of the file."""
    base, *experts = places
    words = {"tadrop": True, **options}
    merge_checkpoints(base, experts, out, merge=method, **words)
    return {
        path.relative_to(out): path.read_bytes()
        for path in sorted(out.rglob("*.safetensors"))
    }


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("method", METHODS)
def test_threads_change_no_byte(method, tmp_path, threads):
    places = world(tmp_path, SHAPES)
    written = []
    for count in (1, 2, 4):
        threads(count)
        written.append(merged(places, tmp_path / f"out{count}", method))
    assert written[0]
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("method", ["ties", "emr"])
def test_a_second_merge_beside_the_first_changes_no_byte(method, tmp_path):
    places = world(tmp_path, SHAPES)
    first = merged(places, tmp_path / "out", method)
    assert merged(places, tmp_path / "again", method) == first


@pytest.mark.parametrize("method", ["ties", "emr", "dare_ties"])
def test_pieces_change_no_byte(method, tmp_path, monkeypatch):
    places = world(tmp_path, SHAPES)
    whole = merged(places, tmp_path / "whole", method)
    monkeypatch.setattr(passes, "PIECE", 256)
    monkeypatch.setattr(passes, "SPAN", 500)
    monkeypatch.setattr(task_vectors, "VECTOR_PIECE", 192)
    monkeypatch.setattr(task_vectors, "WHOLE", 0)
    assert merged(places, tmp_path / "pieces", method) == whole


@pytest.mark.parametrize("method", ["ties", "emr", "dare_ties"])
def test_compiled_kernels_change_no_byte(method, tmp_path, monkeypatch):
    places = world(tmp_path, SHAPES)
    monkeypatch.setattr(compiled, "FROM", 1 << 60)
    plain = merged(places, tmp_path / "plain", method)
    monkeypatch.setattr(compiled, "FROM", 1)
    assert merged(places, tmp_path / "compiled", method) == plain


@pytest.mark.parametrize("form", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "method", ["della", "breadcrumbs", "breadcrumbs_tensor", "pcb", "pcb_root"]
)
def test_kernels_of_rows_and_balances_change_no_byte(
    method, form, tmp_path, monkeypatch, threads
):
    """Under the row's own sparsifier, with equal magnitudes where files are rounded."""
    places = world(tmp_path, SHAPES, dtype=getattr(torch, form))
    monkeypatch.setattr(compiled, "FROM", 1 << 60)
    plain = merged(places, tmp_path / "plain", method, tadrop=False)
    monkeypatch.setattr(compiled, "FROM", 1)
    for count in (1, 2):
        threads(count)
        out = tmp_path / f"compiled{count}"
        assert merged(places, out, method, tadrop=False) == plain


@pytest.mark.parametrize("size", ["1MB", "30KB"])
def test_the_size_of_shards_changes_no_tensor(size, tmp_path):
    places = world(tmp_path, SHAPES)
    parts = {}
    merged(places, tmp_path / size, shard_size=size)
    for file in (tmp_path / size).glob("*.safetensors"):
        parts |= load_file(file)
    merged(places, tmp_path / "whole")
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert parts.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor.view(torch.int32), parts[name].view(torch.int32))
