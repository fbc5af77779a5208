"""Models and data sets are found in a local folder first, and what is nowhere is told in
one line.
"""

import pytest

from tadrop.storage import hub
from tadrop.types import TadropError


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
