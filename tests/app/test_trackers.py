"""A tracker that is missing, slow or broken never costs a run or a record."""

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.utils import instantiate

from tadrop.app.places import CONF
from tadrop.app.schema.composing import composed
from tadrop.app.trackers import telling
from tadrop.app.trackers.entry import (
    Entry,
    Tracker,
    library,
    numbers,
    of_record,
    of_written,
)
from tadrop.app.trackers.telling import SWEEP, parted, push, tell
from tadrop.app.trackers.wandb import Wandb
from tadrop.errors import TadropError
from tadrop.merging.export import Written
from tadrop.results import record as records
from tests.records import record

TRACKERS = sorted(path.stem for path in (CONF / "tracker").glob("*.yaml"))


class FakeWandb:
    """wandb as far as we use it; the stage called `breaks` raises."""

    def __init__(self, breaks=None, key=None):
        self.breaks, self.key, self.told = breaks, key, []
        self.summary = SimpleNamespace(
            update=lambda values: self.act("summary", values)
        )

    def act(self, stage, *facts):
        self.told.append((stage, *facts))
        if stage == self.breaks:
            raise ConnectionError(f"{stage} went wrong\nin two lines")

    def login(self, prompt, verify):
        assert not prompt
        assert not verify
        return self.key is not None

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
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def install(*args, **kwargs):
        made = FakeWandb(*args, **kwargs)
        monkeypatch.setitem(sys.modules, "wandb", made)
        return made

    return install


def entry(tmp_path, group=None):
    """A run of which one file is there."""
    one = record("ties")
    (tmp_path / f"{one['key']}.json").write_text("{}")
    return of_record(one, tmp_path, group)


def log(tmp_path, mode="auto", group="mine"):
    tracker = Wandb(mode=mode, group=group, tags=["own"], folder=str(tmp_path))
    return tell(tracker, lambda: entry(tmp_path, "the sweep"))


def test_a_run_is_told_once_with_its_numbers_and_the_files_there_are(fake, tmp_path):
    wandb = fake()
    assert log(tmp_path)
    stages = [stage for stage, *_ in wandb.told]
    assert stages == ["init", "log", "summary", "add_file", "log_artifact", "finish"]
    settings = wandb.told[0][1]
    assert (settings["mode"], settings["group"]) == ("offline", "mine")
    assert (settings["name"], settings["job_type"]) == ("TIES", "run")
    assert settings["tags"][-2:] == ["ties", "own"]
    assert settings["config"]["merge"]["name"] == "ties"
    assert wandb.told[1][1]["average"] == pytest.approx(80)


def test_a_run_of_a_sweep_is_in_its_group_unless_another_is_named(fake, tmp_path):
    wandb = fake()
    log(tmp_path, group=None)
    assert wandb.told[0][1]["group"] == "the sweep"


def test_online_only_for_those_who_are_logged_in(fake, tmp_path):
    wandb = fake(key="k")
    log(tmp_path)
    log(tmp_path, mode="offline")
    starts = [facts[0]["mode"] for stage, *facts in wandb.told if stage == "init"]
    assert starts == ["online", "offline"]


@pytest.mark.parametrize(
    "breaks", ["init", "log", "summary", "add_file", "log_artifact", "finish"]
)
def test_whatever_breaks_is_one_line_and_the_run_goes_on(
    fake, tmp_path, capsys, breaks
):
    wandb = fake(breaks)
    assert not log(tmp_path)
    said = capsys.readouterr().err
    assert said == (
        f"tracker: ConnectionError: {breaks} went wrong"
        "; what it was to be told is kept, and the run goes on\n"
    )
    if breaks != "init":
        assert wandb.told[-1] == ("finish",)


@pytest.mark.parametrize(
    ("name", "module"),
    [("mlflow", "mlflow.tracking"), ("tensorboard",) * 2, ("trackio",) * 2],
)
def test_a_library_that_is_not_installed(monkeypatch, tmp_path, capsys, name, module):
    for known in list(sys.modules):
        if known.partition(".")[0] == name:
            monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    tracker = instantiate(composed([f"tracker={name}"]).tracker, folder=str(tmp_path))
    assert not tell(tracker, lambda: entry(tmp_path))
    said = capsys.readouterr().err
    hint = f"tracker: {name} is not installed: pip install -e '.[{name}]' ("
    assert said.startswith(hint)
    assert said.count("\n") == 1


def test_extras_are_those_that_hints_name():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert {"mlflow", "tensorboard", "trackio"} <= extras.keys()


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_keeps_the_protocol(name):
    tracker = composed([f"tracker={name}"]).tracker
    assert name == "none" or isinstance(instantiate(tracker), Tracker)


def test_a_tracker_that_hangs_is_left_behind(tmp_path, capsys):
    start = time.monotonic()
    slow = SimpleNamespace(log=lambda one: time.sleep(5))
    assert not tell(slow, lambda: entry(tmp_path), patience=0.1)
    assert time.monotonic() - start < 2
    assert "no answer within 0.1 s" in capsys.readouterr().err


def test_no_tracker_is_no_work():
    assert tell(None, lambda: 1 / 0)


def test_numbers_are_flat():
    assert {type(value) for value in numbers(record("ties")).values()} <= {int, float}


def test_a_merge_that_is_not_evaluated_has_its_recipe(tmp_path):
    written = Written(tmp_path / "out", "full", {}, 1000, 0.5)
    config = {**composed(["merge=ties"]), "before": None}
    one = of_written(telling.build.resolved(composed(["merge=ties"])), written)
    assert config["merge"].name == one.settings["merge"]["name"] == "ties"
    assert (one.kind, one.numbers["stored_bytes"], one.key) == ("merge", 1000, "out")
    assert [path.name for path in one.files] == ["tadrop.json"]


def test_records_are_pushed_until_one_fails(tmp_path, capsys, monkeypatch):
    told = []

    def keep(one):
        if len(told) == 2:
            raise ConnectionError("gone")
        told.append(one)

    tracker = SimpleNamespace(log=keep)
    monkeypatch.setattr(telling.build, "part", lambda node: tracker)
    monkeypatch.delenv(SWEEP, raising=False)
    several = [record("ties"), record("emr"), record("dare")]
    assert push(None, several, tmp_path) == 2
    assert [one.group for one in told] == ["records"] * 2
    assert capsys.readouterr().err == (
        "tracker: ConnectionError: gone; 2 of 3 records were pushed\n"
    )


def test_words_of_a_tracker_stand_among_filters():
    words = ["merge.name=ties", "tracker=mlflow", "tracker.group=g", "average>80"]
    assert parted(words) == (
        ["tracker=mlflow", "tracker.group=g"],
        ["merge.name=ties", "average>80"],
    )
    with pytest.raises(TadropError, match="say which tracker: tracker=wandb, mlflow,"):
        parted(["average>80"])


# What follows is told to the real libraries, offline, and read back.


def real(name, module, folder):
    """A tracker as its YAML has it, in a folder of the test's."""
    pytest.importorskip(module, reason=f"no {module}: make launchers installs it")
    node = composed([f"tracker={name}"]).tracker
    return instantiate(node, folder=str(folder), tags=["own"])


def told(tracker, folder):
    """Tells a tracker of a run and of the tables of its sweep; returns the run."""
    from PIL import Image

    one = record("ties")
    records.write(folder, one)
    Image.new("RGB", (4, 3), "red").save(folder / "bars.png")
    (folder / "table.md").write_text("| method |\n")
    run = of_record(one, folder, "the sweep")
    files = [folder / "bars.png", folder / "table.md", folder / "gone.csv"]
    tables = Entry("tables", "demo", "demo", {}, {}, files, "the sweep", ("demo",))
    assert tell(tracker, lambda: run)
    assert tell(tracker, lambda: tables)
    return run


def wandb_log(file):
    """The records in a file of W&B's: LevelDB's log in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = file.read_bytes(), 7, []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size = int.from_bytes(data[at + 4 : at + 6], "little")
        kind = data[at + 6]
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of several
            found = wandb_internal_pb2.Record()
            found.ParseFromString(b"".join(parts))
            parts = []
            yield found


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_such_file"))  # nobody is logged in
    tracker = Wandb(tags=["own"], folder=str(tmp_path))
    run = told(tracker, tmp_path)
    library("wandb").teardown()  # until then it may still be writing
    logs = {}
    for file in tmp_path.glob("wandb/offline-run-*/*.wandb"):
        lines = list(wandb_log(file))
        (start,) = [one.run for one in lines if one.HasField("run")]
        logs[start.display_name] = start, lines
    assert logs.keys() == {"TIES", "demo"}
    start, of_run = logs["TIES"]
    of_tables = logs["demo"][1]
    assert start.run_group == "the sweep"
    assert {"ties", "own"} <= {*start.tags}
    settings = {item.key: item.value_json for item in start.config.update}
    assert '"ties"' in settings["merge"]
    values = {}
    for one in of_run:
        for item in one.history.item:
            values["/".join(item.nested_key) or item.key] = item.value_json
    assert float(values["average"]) == pytest.approx(run.numbers["average"])
    kept = []
    for one in (*of_run, *of_tables):
        if one.HasField("artifact"):
            contents = one.artifact.manifest.contents
            kept.append((one.artifact.name, sorted(item.path for item in contents)))
    assert kept == [
        (f"record-{run.key}", [f"{run.key}.json"]),
        ("tables-demo", ["bars.png", "table.md"]),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_mlflow_in_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = real("mlflow", "mlflow", tmp_path / "ml")
    run = told(tracker, tmp_path)
    client = library("mlflow.tracking").MlflowClient(
        f"sqlite:///{tmp_path}/ml/mlflow.db"
    )
    (project,) = [one for one in client.search_experiments() if one.name == "tadrop"]
    found = {
        one.info.run_name: one for one in client.search_runs([project.experiment_id])
    }
    assert found.keys() == {"TIES", "demo"}
    ties = found["TIES"]
    assert ties.info.status == "FINISHED"
    assert ties.data.params["merge.name"] == "ties"
    assert ties.data.metrics == pytest.approx(dict(run.numbers))
    assert ties.data.tags["group"] == "the sweep"
    assert {"ties", "own"} <= ties.data.tags.keys()
    kept = [one.path for one in client.list_artifacts(ties.info.run_id)]
    assert kept == [f"{run.key}.json"]
    tables = client.list_artifacts(found["demo"].info.run_id)
    assert [one.path for one in tables] == ["bars.png", "table.md"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tensorboard_in_a_folder(tmp_path):
    tracker = real("tensorboard", "tensorboard", tmp_path / "tb")
    run = told(tracker, tmp_path)
    reading = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = library(reading).EventAccumulator
    place = tmp_path / "tb" / "the-sweep"
    assert {path.name for path in place.iterdir()} == {f"TIES-{run.key}", "demo-demo"}
    events = accumulator(str(place / f"TIES-{run.key}")).Reload()
    scalars = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
    assert scalars == pytest.approx(dict(run.numbers), rel=1e-6)
    (text,) = events.Tensors("settings/text_summary")
    assert b'`merge.name`: `"ties"`' in text.tensor_proto.string_val[0]
    assert (place / f"TIES-{run.key}" / f"{run.key}.json").exists()
    tables = accumulator(str(place / "demo-demo")).Reload()
    assert tables.Tags()["images"] == ["bars"]
    assert (place / "demo-demo" / "table.md").exists()


READ_TRACKIO = """
import sys
import trackio
from pathlib import Path
from trackio.sqlite_storage import SQLiteStorage
for run in trackio.Api().runs("tadrop"):
    print(run.name, run.config["_Group"], run.config["tags"])
    for line in SQLiteStorage.get_logs("tadrop", run.name):
        print(line.get("average"))
for path in sorted(Path(sys.argv[1]).rglob("blobs/**/*")):
    if path.is_file() and path.stat().st_size < 20:
        print(path.read_text())
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trackio_on_this_machine(tmp_path, monkeypatch):
    """In a process of its own, as the library reads where to write when it is imported."""
    pytest.importorskip("trackio", reason="no trackio: make launchers installs it")
    place = str(tmp_path / "tk")
    monkeypatch.setenv("TRACKIO_DIR", place)
    code = (
        "import sys; from pathlib import Path; from tests.app import test_trackers as t;"
        "folder = Path(sys.argv[1]);"
        "print(t.told(t.real('trackio', 'trackio', folder / 'tk'), folder).key)"
    )
    options = {"cwd": Path(__file__).parents[2], "env": os.environ.copy()}
    words = [sys.executable, "-c", code, str(tmp_path)]
    key = subprocess.run(words, capture_output=True, text=True, check=True, **options)
    words = [sys.executable, "-c", READ_TRACKIO, place]
    read = subprocess.run(words, capture_output=True, text=True, check=True, **options)
    said = read.stdout
    assert key.stdout == f"{record('ties')['key']}\n"
    assert f"TIES {record('ties')['key']} the sweep" in said
    assert "'own'" in said
    assert "80.0" in said
    assert "| method |" in said
