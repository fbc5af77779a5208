"""What is read, and what is refused with the file and the key that are wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests.checkpoints import family, opened, save, weights


@pytest.mark.parametrize("layout", ["single", "sharded", "torch"])
def test_every_layout_reads_the_same(tmp_path, layout):
    state = weights(1)
    save(tmp_path / "x", state, layout)
    checkpoint = open_checkpoint(tmp_path / "x")
    assert list(checkpoint.tensors) == sorted(state)
    assert all(torch.equal(checkpoint[name], state[name]) for name in state)


def test_sharded_torch_files_and_wrapped_state_dicts(tmp_path):
    state = weights(1)
    names = sorted(state)
    for number, some in enumerate((names[:2], names[2:])):
        torch.save(
            {n: state[n] for n in some}, tmp_path / f"pytorch_model-{number}.bin"
        )
    where = {n: f"pytorch_model-{int(n in names[2:])}.bin" for n in names}
    (tmp_path / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": where})
    )
    checkpoint = open_checkpoint(tmp_path)
    assert all(torch.equal(checkpoint[name], state[name]) for name in state)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    assert list(open_checkpoint(tmp_path / "wrapped.pt").tensors) == names


def test_a_transposed_view_is_read_in_its_own_order(tmp_path):
    matrix = torch.arange(12.0).view(3, 4)
    torch.save({"w": matrix.t()}, tmp_path / "x.pt")
    assert (
        open_checkpoint(tmp_path / "x.pt")["w"].reshape(-1).tolist()
        == matrix.t().reshape(-1).tolist()
    )


def damaged(tmp_path, name, change):
    base, experts, *_ = family(tmp_path, tasks=1)
    file = experts[0] / "model.safetensors"
    from safetensors.torch import load_file

    state = load_file(file)
    change(state)
    save_file(state, file)
    return base, experts[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("norm.weight"),
            r"a: tensor 'norm.weight' is missing \(the base .*base has it\)",
        ),
        (
            lambda s: s.update(extra=torch.ones(2)),
            r"a: tensor 'extra' is not in the base .*base",
        ),
        (
            lambda s: s.update({"norm.weight": torch.ones(25)}),
            r"a: tensor 'norm.weight' has shape \[25\]; .* \[24\]",
        ),
        (
            lambda s: s.update({"norm.weight": torch.ones(24).int()}),
            r"a: tensor 'norm.weight' is torch.int32",
        ),
    ],
)
def test_experts_that_do_not_fit(tmp_path, change, message):
    base, expert = damaged(tmp_path, "a", change)
    with pytest.raises(TadropError, match=message):
        opened(base, [expert])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("least", [0, 1 << 60])
def test_a_nan_names_task_tensor_and_file(tmp_path, bad, least, monkeypatch):
    def spoil(state):
        state["big.weight"][200, 7] = bad

    monkeypatch.setattr("tadrop.numerics.compiled.FROM", least)
    base, expert = damaged(tmp_path, "a", spoil)
    with pytest.raises(
        TadropError,
        match=r"task vector 'a', 'big.weight': 1 entries are NaN or infinite \(.*a or ",
    ):
        opened(base, [expert]).taus("big.weight")


def test_large_finite_entries_are_not_mistaken_for_infinite(tmp_path):
    save(tmp_path / "base", {"w": torch.zeros(70_000)})
    save(tmp_path / "a", {"w": torch.full((70_000,), 3e38)})
    assert torch.isfinite(opened(tmp_path / "base", [tmp_path / "a"]).taus("w")).all()


def test_truncated_files(tmp_path):
    base, experts, *_ = family(tmp_path, tasks=1)
    file = experts[0] / "model.safetensors"
    for keep in (0, 4, 100, file.stat().st_size - 1):
        file.write_bytes((base / "model.safetensors").read_bytes()[:keep])
        with pytest.raises(
            TadropError, match=r"a/model.safetensors: not a readable checkpoint"
        ):
            open_checkpoint(experts[0])


def test_pickles_are_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "proof"), "w"))

    torch.save({"w": Hostile()}, tmp_path / "x.bin")
    with pytest.raises(TadropError, match=r"x.bin: not a readable checkpoint"):
        open_checkpoint(tmp_path / "x.bin")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"weight_map": {"w": "../secret.safetensors"}},
            r"'w' points outside the directory",
        ),
        ({"weight_map": {"w": "/etc/passwd"}}, r"'w' points outside the directory"),
        ({"weight_map": {"w": 3}}, r"'w' points outside the directory"),
        (
            {"weight_map": {"w": "gone.safetensors"}},
            r"shard gone.safetensors is missing",
        ),
        (
            {"weight_map": {"other": "x.safetensors"}},
            r"x.safetensors: tensor 'other' is in the index but not",
        ),
        ({"weight_map": ["w"]}, r"weight_map is list"),
        ({}, r"not a readable checkpoint"),
        ([], r"not a readable checkpoint"),
    ],
)
def test_hostile_indices(tmp_path, index, message):
    save_file({"w": torch.ones(2)}, tmp_path / "x.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TadropError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, r"x: no such checkpoint"),
        (lambda p: p.mkdir(), r"x: none of model.safetensors"),
        (
            lambda p: torch.save([torch.ones(1)], p.with_suffix(".pt")),
            r"x.pt: holds list, not a state dict",
        ),
        (
            lambda p: p.with_suffix(".h5").write_text(""),
            r"x.h5: unknown kind of checkpoint",
        ),
    ],
)
def test_what_is_no_checkpoint(tmp_path, make, message):
    make(tmp_path / "x")
    path = next(tmp_path.iterdir(), tmp_path / "x")
    with pytest.raises(TadropError, match=message):
        open_checkpoint(path)
