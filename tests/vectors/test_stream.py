"""Streams: re-iterable, order-free, equal bits whole and in pieces; wrong checkpoints are refused
by name.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tadrop.models.clip.convert import Lazy
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.passes import density
from tadrop.vectors.task_vectors import TaskVectors
from tests.golden import TAUS, flat, golden, stream_of

RULES = [
    Magnitude(0.5, scope="model"),
    Magnitude(0.5),
    Dare(0.5, seed=0),
    TADrop(0.5, 0.9),
]


def test_task_vectors_are_differences_in_float32():
    theta0 = {"w": torch.tensor([1.0, 2, 3], dtype=torch.float16)}
    experts = {
        "t": Checkpoint(
            Path("t"), (), {"w": torch.tensor([1.5, 2, 2], dtype=torch.bfloat16)}
        )
    }
    taus = TaskVectors(Checkpoint(Path("b"), (), theta0), experts).taus("w")
    assert taus.dtype == torch.float32
    assert taus.tolist() == [[0.5, 0, -1]]


def test_private_and_integer_tensors_are_not_merged():
    theta0 = {
        "w": torch.zeros(2),
        "steps": torch.tensor(3),
        "head.weight": torch.zeros(2, 2),
    }
    experts = {
        "t": Checkpoint(Path("t"), (), theta0 | {"head.weight": torch.zeros(5, 2)})
    }
    assert TaskVectors(
        Checkpoint(Path("b"), (), theta0), experts, ("head.*",)
    ).names == ("w",)


def test_a_changed_copy_keeps_the_order_that_the_user_gave():
    stream = golden("t3", "t1")
    assert stream.tasks == ("t1", "t3")
    assert stream.order == replace(stream, matrix_layouts={}).order == (1, 0)
    other = {task: stream.experts[task] for task in ("t3",)}
    assert replace(stream, experts=other).order == (0,)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_pieces_equal_the_whole_in_any_order(rule):
    whole, other = Sparse(golden(), rule), Sparse(golden(), rule)
    for name in reversed(other.names):
        size = whole.taus(name)[0].numel()
        parts = [
            other.taus(name, start, min(start + 3, size)) for start in range(0, size, 3)
        ]
        assert torch.equal(torch.cat(parts, 1), whole.taus(name).reshape(3, -1))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_streams_are_reiterable_and_leave_checkpoints_alone(rule):
    source = golden()
    before = {n: source.experts["t1"][n].clone() for n in "Ab"}
    sparse = Sparse(source, rule)
    first = {n: sparse.taus(n).clone() for n in sparse.names}
    assert all(torch.equal(sparse.taus(n), first[n]) for n in sparse.names)
    assert all(torch.equal(source.experts["t1"][n], before[n]) for n in "Ab")


def test_model_scope_trims_the_concatenation():
    stream = Sparse(golden(), Magnitude(0.3, scope="model"))
    for i, task in enumerate(TAUS):
        vector = flat(TAUS[task])
        threshold = vector.abs().sort(descending=True).values[2]
        got = flat({n: stream.taus(n)[i] for n in "Ab"})
        assert int((got != 0).sum()) == 3
        assert bool((got.abs()[got != 0] >= threshold).all())


def test_a_sparsifier_on_a_sparse_stream_sees_what_is_left():
    stream = Sparse(Sparse(golden(), Magnitude(0.5)), Magnitude(0.5, scope="model"))
    inner = {n: Sparse(golden(), Magnitude(0.5)).taus(n) for n in "Ab"}
    for i in range(3):
        vector = flat({n: inner[n][i] for n in "Ab"})
        kept = flat({n: stream.taus(n)[i] for n in "Ab"})
        assert torch.equal(
            kept.abs().sort().values,
            torch.where(vector.abs() > 0, vector.abs(), 0).sort().values,
        )


def test_density_counts_what_is_not_zero():
    assert density(golden()) == pytest.approx((9 + 9 + 9) / 30)
    assert set(all_cuts(Sparse(golden(), TADrop(0.5, 0.9)))) == {
        (t, n) for t in TAUS for n in "Ab"
    }


def expert(**tensors):
    return {
        "good": {"w": torch.ones(2, 3), "v": torch.ones(4)},
        "bad": {"w": torch.ones(2, 3), "v": torch.ones(4)} | tensors,
    }


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"v": torch.ones(5)}, ("bad", "'v'", r"\[5\]", r"\[4\]")),
        ({"x": torch.ones(5)}, ("bad", "'x'", "not in the base")),
        ({"v": torch.ones(4, dtype=torch.int64)}, ("bad", "'v'", "int64")),
    ],
)
def test_wrong_tensors_name_file_and_key(tensors, words):
    checkpoints = {
        t: Checkpoint(Path(t), (), ts) for t, ts in expert(**tensors).items()
    }
    with pytest.raises(TadropError) as caught:
        TaskVectors(checkpoints["good"], checkpoints)
    for word in words:
        assert re.search(word, str(caught.value))


def test_a_missing_tensor_names_file_and_key():
    checkpoints = {t: Checkpoint(Path(t), (), ts) for t, ts in expert().items()}
    del checkpoints["bad"].tensors["w"]
    with pytest.raises(TadropError, match=r"bad: tensor 'w' is missing"):
        TaskVectors(checkpoints["good"], checkpoints)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_task_vectors_name_task_and_tensor(value):
    stream = stream_of(
        {"fine": {"w": torch.ones(4)}, "broken": {"w": torch.tensor([0, value, 0, 1])}}
    )
    with pytest.raises(TadropError, match=r"'broken', 'w': 1 entries"):
        stream.taus("w")


def made(tensors):
    """A checkpoint whose tensors are made when asked for, as CLIP's fused ones are."""
    makers = {name: tensor.clone for name, tensor in tensors.items()}
    return Checkpoint(Path("c"), (), Lazy(makers), lasting=False)


def test_tensors_that_are_made_when_asked_for_may_go_in_between():
    size = (300, 300)  # large enough for the compiled path, which reads by address
    theta = {"v": torch.rand(size), "w": torch.rand(size)}
    base = {name: torch.zeros(size) for name in theta}
    stream = TaskVectors(made(base), {"t": made(theta)})
    for _ in range(3):
        for name in ("w", "v"):
            found = stream.taus(name)
            held = [
                torch.full(size, torch.nan) for _ in range(8)
            ]  # takes the memory of what is gone
            assert torch.equal(found[0], theta[name])
    assert len(held) == 8
    assert not stream._known  # nor are they all kept


@pytest.mark.parametrize("norm", ["none", "l1"])
@pytest.mark.parametrize("scope", ["tensor", "layer", "model"])
def test_cutting_as_entries_are_read_has_the_bits_of_cutting_afterwards(
    scope, norm, monkeypatch
):
    maker = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randint(-4, 5, shape, generator=maker) / 8  # noqa: E731  full of ties
    shapes = {
        "a.weight": (30, 40),
        "b.weight": (700,),
        "c.0.weight": (),
        "c.1.weight": (0, 3),
    }
    base = Checkpoint(Path("b"), (), {n: draw(*shape) for n, shape in shapes.items()})
    experts = {
        t: Checkpoint(Path(t), (), {n: draw(*shape) for n, shape in shapes.items()})
        for t in ("s", "t")
    }
    source = TaskVectors(base, experts)
    sparse = Sparse(source, Magnitude(0.4, norm=norm, scope=scope))
    expected = {}
    for name in sparse.names:
        rows = (
            source.taus(name).flatten(1)
            if shapes[name]
            else source.taus(name).view(2, 1)
        )
        cuts = [sparse.cut(task, name) for task in range(2)]
        expected[name] = torch.stack(
            [
                cut.apply(row, offset)
                for row, (cut, offset) in zip(rows, cuts, strict=True)
            ]
        )
    monkeypatch.setattr("tadrop.numerics.compiled.FROM", 0)
    for name in sparse.names:
        size = expected[name].shape[1]
        parts = [
            sparse.taus(name, start, min(start + 129, size))
            for start in range(0, size, 129)
        ]
        assert torch.equal(
            torch.cat(parts, 1) if parts else torch.empty(2, 0), expected[name]
        )
        assert torch.equal(sparse.taus(name).reshape(2, -1), expected[name])


def test_an_entry_that_turns_nan_after_planning_is_named(monkeypatch):
    monkeypatch.setattr("tadrop.numerics.compiled.FROM", 0)
    tensors = {"w": torch.arange(10.0)}
    source = TaskVectors(
        Checkpoint(Path("b"), (), {"w": torch.zeros(10)}),
        {"t": Checkpoint(Path("t"), (), tensors)},
    )
    sparse = Sparse(source, Magnitude(0.5))
    sparse.taus("w")
    tensors["w"][3] = float("nan")
    with pytest.raises(TadropError, match=r"'t', 'w': 1 entries are NaN"):
        sparse.taus("w", 0, 5)


@pytest.mark.parametrize(("piece", "whole"), [(3, 5), (3, 100), (100, 100)])
def test_a_vector_is_all_of_its_pieces(piece, whole, monkeypatch):
    monkeypatch.setattr("tadrop.vectors.task_vectors.VECTOR_PIECE", piece)
    monkeypatch.setattr("tadrop.vectors.task_vectors.WHOLE", whole)
    source = golden()
    for name in (*source.names, None):
        pieces = list(source.vector(1, name).pieces())
        expected = torch.cat(
            [
                source.taus(n)[1].reshape(-1)
                for n in (source.names if name is None else [name])
            ]
        )
        assert torch.equal(torch.cat(pieces), expected)
        assert max(map(len, pieces)) <= max(piece, whole if name else 0)
