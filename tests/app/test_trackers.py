"""A tracker that is missing, slow or broken never costs a run or a record."""

import sys
import time
from types import SimpleNamespace

import pytest

from tadrop.app.trackers import Wandb, numbers, tell
from tests.records import record


class FakeWandb:
    """wandb as far as we use it; the stage called `breaks` raises."""

    def __init__(self, breaks=None, key=None):
        self.breaks, self.api, self.told = breaks, SimpleNamespace(api_key=key), []
        self.summary = SimpleNamespace(
            update=lambda values: self.act("summary", values)
        )

    def act(self, stage, *facts):
        self.told.append((stage, *facts))
        if stage == self.breaks:
            raise ConnectionError(f"{stage} went wrong\nin two lines")

    def init(self, **settings):
        self.act("init", settings)
        return self

    def Settings(self, **settings):  # noqa: N802
        return settings

    def Artifact(self, name, type):  # noqa: A002, N802
        return SimpleNamespace(
            name=name, add_file=lambda path: self.act("add_file", path)
        )

    def log(self, values):
        self.act("log", values)

    def log_artifact(self, artifact):
        self.act("log_artifact", artifact.name)

    def finish(self):
        self.act("finish")


@pytest.fixture
def fake(monkeypatch):
    def install(*args, **kwargs):
        made = FakeWandb(*args, **kwargs)
        monkeypatch.setitem(sys.modules, "wandb", made)
        return made

    return install


def log(tmp_path, mode="auto"):
    (tmp_path / "there.json").write_text("{}")
    logger = Wandb(mode=mode, group="sweep", folder=str(tmp_path))
    return tell(
        logger,
        lambda tracker: tracker.log(
            record("ties"), [tmp_path / "there.json", tmp_path / "not.npz"]
        ),
    )


def test_a_run_is_told_once_with_its_numbers_and_the_files_there_are(fake, tmp_path):
    wandb = fake()
    assert log(tmp_path)
    stages = [stage for stage, *_ in wandb.told]
    assert stages == ["init", "log", "summary", "add_file", "log_artifact", "finish"]
    settings = wandb.told[0][1]
    assert (settings["mode"], settings["group"], settings["name"]) == (
        "offline",
        "sweep",
        "TIES",
    )
    assert settings["config"]["merge"]["name"] == "ties"
    assert wandb.told[1][1]["average"] == pytest.approx(80)


def test_online_only_for_those_who_are_logged_in(fake, tmp_path):
    wandb = fake(key="k")
    log(tmp_path)
    assert wandb.told[0][1]["mode"] == "online"
    log(tmp_path, mode="offline")
    assert [facts[0]["mode"] for stage, *facts in wandb.told if stage == "init"] == [
        "online",
        "offline",
    ]


@pytest.mark.parametrize(
    "breaks", ["init", "log", "summary", "add_file", "log_artifact", "finish"]
)
def test_whatever_breaks_is_one_line_and_the_run_goes_on(
    fake, tmp_path, capsys, breaks
):
    wandb = fake(breaks)
    assert not log(tmp_path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"ConnectionError: {breaks} went wrong" in said
    if breaks != "init":
        assert wandb.told[-1] == ("finish",)


def test_wandb_that_is_not_installed(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert not log(tmp_path)
    assert "wandb" in capsys.readouterr().err


def test_a_tracker_that_hangs_is_left_behind(capsys):
    start = time.monotonic()
    assert not tell(object(), lambda tracker: time.sleep(5), patience=0.1)
    assert time.monotonic() - start < 2
    assert "no answer within 0.1 s" in capsys.readouterr().err


def test_no_tracker_is_no_work():
    assert tell(None, lambda tracker: 1 / 0)


def test_numbers_are_flat():
    assert all(
        isinstance(value, int | float) for value in numbers(record("ties")).values()
    )


@pytest.mark.slow
def test_the_real_thing_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert log(tmp_path, mode="offline")
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
