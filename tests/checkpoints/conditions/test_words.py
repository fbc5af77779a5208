"""1 to 8: from the words that are typed to checkpoints and their names."""

import json
import shutil
from unittest.mock import MagicMock

import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from tadrop.storage import hub
from tests import hub_cache
from tests.checkpoints import family as plain
from tests.checkpoints.conditions import merged, noted, refused
from tests.hub_cache import COMMIT


def test_01_a_path_wins_over_a_hub_id(tmp_path, monkeypatch):
    _base, _experts, *_ = plain(tmp_path / "org", tasks=1)
    monkeypatch.chdir(tmp_path)
    merged("org/base", ["org/a"], tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["7", "a b", "x=1", "p(1)", "{q}", "r,s", "ü#"])
def test_02_any_name_of_a_folder(tmp_path, name):
    base, experts, *_ = plain(tmp_path / "in", tasks=1)
    strange = tmp_path / name
    shutil.copytree(experts[0], strange)
    written = merged(base, [strange], tmp_path / f"out {name}")
    made = json.loads((written.path / "tadrop.json").read_text())
    assert list(made["checkpoints"]["experts"]) == [name]


def test_02_the_home_folder(tmp_path, monkeypatch):
    plain(tmp_path, tasks=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    merged("~/base", ["~/a"], tmp_path / "out")


def test_03_a_cached_repository_and_its_commit(tmp_path, monkeypatch):
    commit = "0" * 39 + "1"
    repository = tmp_path / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    base, experts, *_ = plain(tmp_path, tasks=1)
    snapshot = repository / "snapshots" / commit
    shutil.copytree(experts[0], snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    written = merged(base, ["org/tiny", f"old=org/tiny@{commit}"], tmp_path / "out")
    recipe = (written.path / "tadrop.yaml").read_text()
    assert f"tiny: org/tiny@{commit}" in recipe
    assert f"old: org/tiny@{commit}" in recipe
    card = (written.path / "README.md").read_text()
    assert "base_model:\n- org/tiny\n" in card


def test_04_a_repository_that_is_not_here(tmp_path, monkeypatch):
    base, *_ = plain(tmp_path, tasks=1)
    refused(
        base,
        ["org/none"],
        tmp_path / "out",
        r"org/none: no such file or folder, nor is org/none in the hub's cache \(.*\) or "
        r"to be had from the hub \(HF_HUB.*\); fetch it: hf download org/none$",
    )
    refused(base, ["./none"], tmp_path / "out", r"\./none: there is no such file or fo")


def test_07_equal_names_are_told_apart_by_parents(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=2)
    for run, expert in zip(("run1", "run2"), experts, strict=True):
        shutil.copytree(expert, tmp_path / run / "checkpoint-500")
    words = [tmp_path / run / "checkpoint-500" for run in ("run1", "run2")]
    written = merged(base, words, tmp_path / "out")
    made = json.loads((written.path / "tadrop.json").read_text())
    names = ["run1-checkpoint-500", "run2-checkpoint-500"]
    assert list(made["checkpoints"]["experts"]) == names
    named = [f"x={words[0]}", f"x={words[1]}"]
    refused(
        base, named, tmp_path / "no", r"two experts are called 'x'; name them apart"
    )


def test_07_an_expert_called_base(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    shutil.copytree(experts[0], tmp_path / "experts" / "base")
    written = merged(base, [tmp_path / "experts" / "base"], tmp_path / "out")
    made = json.loads((written.path / "tadrop.json").read_text())
    assert list(made["checkpoints"]) == ["base", "experts"]
    assert list(made["checkpoints"]["experts"]) == ["base"]


def test_08_an_expert_that_is_the_base_is_noted(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    merged(base, [f"same={base}", experts[0]], tmp_path / "out")
    assert "same is the base: the same files" in noted(capsys)


def snapshot(tmp_path, monkeypatch, source):
    """A folder as the snapshot of org/tiny in a cache, without a network."""
    home = tmp_path / "home"
    for file in source.iterdir():
        hub_cache.put(home, "models", "org/tiny", file.name, file.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    return hub_cache.storage(home, "models", "org/tiny") / "snapshots" / COMMIT


def test_05_a_cached_repository_that_lacks_a_shard(tmp_path, monkeypatch):
    base, *_ = plain(tmp_path / "plain", tasks=1)
    _, experts, *_ = plain(tmp_path, tasks=1, form="sharded")
    folder = snapshot(tmp_path, monkeypatch, experts[0])
    merged(base, ["org/tiny"], tmp_path / "whole")
    (folder / "model-2.safetensors").unlink()
    line = r"shard model-2.safetensors is missing; fetch it: hf download org/tiny$"
    refused(base, ["org/tiny"], tmp_path / "out", line)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(GatedRepoError, "it is gated"), (RepositoryNotFoundError, ".*or it is private")],
)
def test_06_a_repository_that_asks_who_one_is(tmp_path, monkeypatch, kind, why):
    base, *_ = plain(tmp_path, tasks=1)

    def closed(*words, **more):
        raise kind("401 Client Error", response=MagicMock())

    monkeypatch.setattr(hub, "unreachable", lambda: "")
    monkeypatch.setattr("huggingface_hub.snapshot_download", closed)
    line = (
        rf"org/shut: no such file .* from the hub \({why}.*\); log in with hf auth log"
    )
    refused(base, ["org/shut"], tmp_path / "out", line)


def test_08_an_expert_that_is_given_twice(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    copy = tmp_path / "copies" / "c"
    shutil.copytree(experts[0], copy)
    written = merged(base, [experts[0], experts[0], copy], tmp_path / "out")
    said = noted(capsys)
    assert "a-2 is a: the same files, which count twice" in said
    assert "c is a: the same files" in said
    made = json.loads((written.path / "tadrop.json").read_text())
    assert list(made["checkpoints"]["experts"]) == ["a", "a-2", "c"]


def test_08_one_repository_twice(tmp_path, monkeypatch, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    snapshot(tmp_path, monkeypatch, experts[0])
    words = ["org/tiny", f"org/tiny@{COMMIT}"]
    written = merged(base, words, tmp_path / "out")
    assert "tiny-2 is tiny: the same files" in noted(capsys)
    recipe = (written.path / "tadrop.yaml").read_text()
    assert f"tiny-2: org/tiny@{COMMIT}" in recipe
