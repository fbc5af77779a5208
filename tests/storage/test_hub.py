"""Models and data sets are found in a local folder first, and what is nowhere is told in
one line.
"""

import pytest
from huggingface_hub import constants

from tadrop.storage import hub
from tadrop.types import TadropError
from tests import hub_cache


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(hub, "unreachable", lambda: "no network")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_local_folder_comes_first(tmp_path):
    folder = tmp_path / "models" / "org" / "name"
    folder.mkdir(parents=True)
    assert hub.model("org/name", str(tmp_path), "x") == folder
    assert hub.resolve("models", "org/name@main", str(tmp_path)) == folder
    assert hub.local("models", str(folder), None) == folder
    assert hub.local("datasets", "org/name", str(tmp_path)) is None


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_what_is_nowhere_says_where_it_was_looked_for(tmp_path, offline, kind):
    message = (
        rf"needs no-such-org/name; looked in {tmp_path}/{kind}/no-such-org/name and on "
        rf"the Hugging Face hub \(no network\)\. Go online, or put it at "
        rf"DIR/{kind}/no-such-org/name.* and set paths\.hub=DIR"
    )
    with pytest.raises(TadropError, match=message):
        hub.resolve(kind, "no-such-org/name", str(tmp_path))
    if kind == "models":
        with pytest.raises(TadropError, match=f"model=x {message}"):
            hub.model("no-such-org/name", str(tmp_path), "model=x")


@pytest.mark.parametrize("reference", ["name", "/nowhere/at/all", "./here/it/is"])
def test_what_is_no_hub_id(reference):
    with pytest.raises(TadropError, match="no such path"):
        hub.model(reference, None, "model=x")
    with pytest.raises(TadropError, match="no hub id of the form org/name"):
        hub.resolve("models", reference, None)


def test_a_cache_that_lacks_files_nobody_needs_is_enough(tmp_path, monkeypatch):
    """A folder is found offline though a file that would fit a pattern is not there."""
    home = tmp_path / "home"
    for name in ("config.json", "model.safetensors", "deep/model.safetensors"):
        hub_cache.put(home, "models", "org/name", name, b"x")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(hub, "unreachable", lambda: "no network")
    folder = hub.resolve("models", "org/name", None)
    assert sorted(path.name for path in folder.glob("*.*")) == [
        "config.json",
        "model.safetensors",
    ]
    assert hub.resolve("models", "org/name/deep", None) == folder / "deep"
    with pytest.raises(TadropError, match=r"needs org/name/lost; .*\(no network\)"):
        hub.resolve("models", "org/name/lost", None)
    with pytest.raises(TadropError, match=r"needs org/name; .*\(no network\)"):
        hub.resolve("models", "org/name", None, ["*.spm"])


@pytest.mark.parametrize("there", ["VIT-B-16", "ViT-B-16"])
@pytest.mark.parametrize("place", ["folder", "cache", "hub"])
def test_a_file_that_was_seen_under_two_paths(tmp_path, monkeypatch, there, place):
    inside = f"single_task/{there}/a.pt"
    world, home = tmp_path / "world", tmp_path / "home"
    file = world / "models" / "org" / "name" / inside
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    if place == "hub":
        hub_cache.stand_in(monkeypatch, world, home)
    else:
        monkeypatch.setattr(hub, "unreachable", lambda: "no network")
    if place == "cache":
        hub_cache.put(home, "models", "org/name", inside, b"weights")
    first, second = (
        f"org/name/single_task/{word}/a.pt" for word in ("ViT-B-16", "VIT-B-16")
    )
    folder = str(world) if place == "folder" else None
    path = hub.model(first, folder, "model=x", others=[second])
    assert path.read_bytes() == b"weights"
    assert there in str(path)
