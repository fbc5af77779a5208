"""What is downloaded is downloaded once, and what is in the hub library's cache is found
without a network.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from tadrop.storage import hub as hubs
from tadrop.tasks.glue import TextSource
from tadrop.types import TadropError
from tests import hub_cache, text_hub
from tests import tiny_clip as tiny
from tests.tasks.photographs import suite
from tests.tasks.public_layouts import write_tars

# Prints fingerprints of every kind of data and models that a cache holds.
OFFLINE = """
import json, sys
from pathlib import Path
from tadrop.storage import hub
from tadrop.tasks.glue import TextTasks
from tadrop.tasks.multimodal import MultimodalTasks
from tadrop.tasks.vision import VisionTasks

cache = sys.argv[1]
found = {}
for limit in (None, 8):
    tasks = VisionTasks(
        names=["mnist", "fer2013"], registry="vision", preprocess={"size": 24},
        strict=False, limit=limit, cache=cache,
    )
    assert tasks.needs() == [], tasks.needs()
    for task in tasks.names:
        found[f"{task} {limit}"] = tasks.fingerprint(task, "test")
cola = {"data": "nyu-mll/glue", "folder": "cola", "columns": ["sentence"],
        "test": "validation"}
texts = TextTasks(names=["cola"], sources={"cola": cola}, tokenizer="gpt2/tiny")
assert texts.needs() == [], texts.needs()
found["cola"] = texts.fingerprint("cola", "test")
found["model"] = hub.model("gpt2/tiny", None, "x").name
source = {"retrieval": {"data": "my/coco", "side": 32, "test": "test"}}
files = MultimodalTasks(names=["retrieval"], sources=source, tokenizer="none")
assert files.needs() == [], files.needs()
found["files"] = sorted(path.name for path in files.root("retrieval").iterdir())
print(json.dumps(found))
"""


@pytest.fixture
def world(tmp_path):
    """A folder in the hub's layout: images in parquet and tar, texts, files, a model."""
    folder = tmp_path / "hub"
    tiny.write_dataset(folder, "mnist")
    write_tars(folder / "datasets" / "clip-benchmark" / "wds_fer2013")
    text_hub.write_glue(folder / "datasets" / "nyu-mll" / "glue", rows=12)
    text_hub.write_tokenizer(folder / "models" / "gpt2" / "tiny")
    (folder / "models/gpt2/tiny/model.safetensors").write_bytes(b"weights")
    (folder / "datasets" / "my" / "coco").mkdir(parents=True)
    (folder / "datasets" / "my" / "coco" / "dataset_coco.json").write_text("{}")
    return folder


def run_offline(home, cache):
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-c", OFFLINE, str(cache)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_cache_that_holds_everything_is_enough(world, tmp_path):
    """The real library, HF_HOME, links and all; and the same data as from a folder."""
    hub_cache.lay_out(tmp_path / "home", world)
    found = run_offline(tmp_path / "home", tmp_path / "cache")
    for limit in (None, 8):
        names = ("mnist", "fer2013")
        tasks = suite(world, tmp_path / "local", names, limit=limit)
        for task in names:
            assert found[f"{task} {limit}"] == tasks.fingerprint(task, "test")
    assert found["model"] == "model.safetensors"
    assert found["files"] == ["dataset_coco.json"]


def suites(tmp_path, **options):
    """Image tasks that know no local folder."""
    return suite(tmp_path / "nowhere", tmp_path, **options)


def test_another_size_or_run_reads_from_disk(world, tmp_path, monkeypatch):
    hub = hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    first = suites(tmp_path).fingerprint("mnist", "test")
    assert dict(hub.fetched) == {"data/test-00000-of-00001.parquet": 1}
    assert not hub.bytes
    hub.forget()
    suites(tmp_path, preprocess={"size": 16}).fingerprint("mnist", "test")
    suites(tmp_path, limit=5).fingerprint("mnist", "test")
    assert suites(tmp_path / "fresh").fingerprint("mnist", "test") == first
    assert not hub.fetched
    assert not hub.bytes
    suites(tmp_path).fingerprint("mnist", "train")
    assert dict(hub.fetched) == {"data/train-00000-of-00001.parquet": 1}


def test_tar_archives_are_downloaded_once(world, tmp_path, monkeypatch):
    hub = hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    names = ("fer2013",)
    suites(tmp_path, names=names).fingerprint("fer2013", "test")
    assert dict(hub.fetched) == {"README.md": 1, "test/0.tar": 1, "test/1.tar": 1}
    suites(tmp_path, names=names, limit=3).fingerprint("fer2013", "test")
    assert set(hub.fetched.values()) == {1}


def grouped(folder, groups=10):
    """A data set of many row groups under ylecun/mnist: 2,000 images in groups of 10."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    tiny.write_dataset(folder, "mnist", count=2000)
    file = folder / "datasets/ylecun/mnist/data/test-00000-of-00001.parquet"
    features = Features({"image": ImageFeature(), "label": Value("int64")})
    Dataset.from_parquet(
        str(file), features=features, cache_dir=str(folder / "arrow")
    ).to_parquet(file, batch_size=groups)
    return file


def test_a_sample_downloads_its_row_groups_once(tmp_path, monkeypatch):
    world = tmp_path / "hub"
    file = grouped(world)
    hub = hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    few = suites(tmp_path, limit=20).fingerprint("mnist", "test")
    assert not hub.fetched
    assert 0 < sum(hub.bytes.values()) < file.stat().st_size / 4
    local = suite(world, tmp_path / "local", limit=20)
    assert few == local.fingerprint("mnist", "test")
    hub.forget()
    suites(tmp_path, limit=20, preprocess={"size": 16}).fingerprint("mnist", "test")
    assert not hub.fetched
    assert not hub.bytes


def test_a_sample_is_found_again_without_a_network(tmp_path, monkeypatch):
    world = tmp_path / "hub"
    grouped(world)
    (world / "datasets/ylecun/mnist/README.md").write_text("---\nlicense: mit\n---\n")
    hub = hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    first = suites(tmp_path, limit=20).fingerprint("mnist", "test")
    hub.forget()
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    again = suites(tmp_path, limit=20, preprocess={"size": 25})
    assert again.needs() == []
    again.fingerprint("mnist", "test")
    assert suites(tmp_path, limit=20).fingerprint("mnist", "test") == first
    assert not hub.fetched
    assert not hub.bytes
    with pytest.raises(TadropError, match=r"needs ylecun/mnist.*no network.*train"):
        suites(tmp_path, limit=20).fingerprint("mnist", "train")


def test_texts_download_the_split_that_is_read(world, tmp_path, monkeypatch):
    hub = hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    source = TextSource("nyu-mll/glue", "cola", ["sentence"], test="validation")
    assert not source.at_hand(None)
    files = source.files("validation", None)
    assert [file.name for file in files] == ["validation-00000-of-00001.parquet"]
    assert dict(hub.fetched) == {"cola/validation-00000-of-00001.parquet": 1}
    assert source.at_hand(None)
    assert source.files("validation", None) == files
    assert sum(hub.fetched.values()) == 1
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    wanted = r"needs nyu-mll/glue; .*no network.*nyu-mll/glue/cola/train-\*\.parquet"
    with pytest.raises(TadropError, match=wanted):
        source.files("train", None, "cola")


def test_a_hub_that_does_not_answer_leaves_the_cache(world, tmp_path, monkeypatch):
    hub_cache.stand_in(monkeypatch, world, tmp_path / "home")
    first = suites(tmp_path).fingerprint("mnist", "test")
    hub_cache.stand_in(monkeypatch, tmp_path / "gone", tmp_path / "home")
    assert suites(tmp_path / "fresh").fingerprint("mnist", "test") == first


def test_half_of_the_shards_are_not_taken_for_all(world, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    file = world / "datasets/ylecun/mnist/data/test-00000-of-00001.parquet"
    name = "data/test-00000-of-00002.parquet"
    home = tmp_path / "home"
    hub_cache.put(home, "datasets", "ylecun/mnist", name, file.read_bytes())
    with pytest.raises(TadropError, match=r"1 of 2 shards of data/test are there"):
        suites(tmp_path).fingerprint("mnist", "test")
    assert "1 of 2 shards" in str(suites(tmp_path).needs()[0])


def test_what_the_cache_lacks_is_named(world, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    assert [*map(str, suites(tmp_path).needs())] == [
        "task 'mnist' needs the data set ylecun/mnist, its test split"
    ]
    assert not Path(tmp_path / "home").exists()
