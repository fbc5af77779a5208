"""What --dry-run says of downloads: the hub's own sizes, or those of a dated table."""

from types import SimpleNamespace

import pytest

from tadrop.app.boards import cost, downloads
from tadrop.app.places import CONF
from tadrop.storage import hub

CLIP = ("model=vit_b32", "tasks=vision8")
GPT2 = ("model=gpt2", "tasks=glue7")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A machine that has nothing of the hub and cannot ask it."""
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache")
    )
    monkeypatch.setattr(hub, "unanswered", lambda: "no network")
    return tmp_path


def told(folder, words):
    words = [*words, f"paths.hub={folder}/hub", f"paths.records={folder}/records"]
    return cost.dry_run_of(words, folder / "records").splitlines()


def test_a_clip_suite_is_told_item_by_item_with_its_true_sizes(offline):
    lines = told(offline, CLIP)
    assert "   605.1 MB  openai/clip-vit-base-patch32 (base)" in lines
    assert "   349.8 MB  tanganke/clip-vit-base-patch32_dtd (dtd)" in lines
    assert "          ?  data set ylecun/mnist (mnist: its test split)" in lines
    (total,) = [line for line in lines if line.startswith("to provide or download")]
    assert total.endswith("17; 3.4 GB for 9 of them, and 8 of unknown size")
    assert lines[-1].startswith(
        "sizes of 2026-11-30 (sizes.yaml), as the hub cannot be "
    )
    assert "(no network)" in lines[-1]
    assert [*offline.iterdir()] == []


def test_a_text_suite_too(offline):
    lines = told(offline, GPT2)
    assert "   548.1 MB  openai-community/gpt2 (base)" in lines
    assert "   497.8 MB  tanganke/gpt2_cola (cola)" in lines
    cola = "data set nyu-mll/glue (cola: cola/validation-*.parquet)"
    assert f"          ?  {cola}" in lines


def test_data_that_are_here_are_at_hand(offline):
    for task in ("cola", "rte"):
        folder = offline / "hub" / "datasets" / "nyu-mll" / "glue" / task
        folder.mkdir(parents=True)
        (folder / "validation-00000-of-00001.parquet").touch()
    lines = told(offline, GPT2)
    assert "at hand: 2 of 15, checkpoints of 0.0 MB" in lines
    assert not [line for line in lines if "cola/validation" in line]


def test_the_hub_is_asked_where_it_answers(offline, monkeypatch):
    asked = []
    sizes = {
        "model.safetensors": 100_000_000,
        "pytorch_model.bin": 900_000_000,
        "data/test-00000.parquet": 7_000_000,
        "data/train-00000.parquet": 70_000_000,
    }

    def repo_info(self, name, repo_type, files_metadata):
        asked.append((repo_type, name))
        files = [SimpleNamespace(rfilename=n, size=s) for n, s in sizes.items()]
        return SimpleNamespace(siblings=files)

    monkeypatch.setattr(hub, "unanswered", lambda: "")
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", repo_info)
    lines = told(offline, CLIP)
    assert ("model", "openai/clip-vit-base-patch32") in asked
    assert ("dataset", "ylecun/mnist") in asked
    assert "   100.0 MB  openai/clip-vit-base-patch32 (base)" in lines
    assert "     7.0 MB  data set ylecun/mnist (mnist: its test split)" in lines
    assert "to provide or download: 17; 956.0 MB for 17 of them" in lines
    assert lines[-1].startswith("sizes as the hub says")


def test_a_checkpoint_of_the_users_own_is_named_as_before(offline):
    lines = told(offline, ("model.base=gone.safetensors", "tasks.names=[hebrew]"))
    assert [line for line in lines if "no checkpoint at gone.safetensors" in line]


def test_what_is_recorded_is_not_owed(offline):
    lines = told(offline, CLIP)
    key = lines[1].split()[0]
    (offline / "records").mkdir()
    (offline / "records" / f"{key}.json").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "_folders", lambda folder: [])
        assert told(offline, CLIP)[0] == "3 runs, 1 recorded, 2 owed"


@pytest.mark.parametrize("name", ["vit_b32", "vit_b16", "vit_l14"])
def test_the_models_file_says_what_the_table_says(name):
    head = (CONF / "model" / f"{name}.yaml").read_text().splitlines()[0]
    sizes = downloads.table()["models"]
    arch = {"vit_b32": "base-patch32", "vit_b16": "base-patch16"}
    arch["vit_l14"] = "large-patch14"
    for weight in (
        sizes[f"openai/clip-vit-{arch[name]}"],
        sizes[f"tanganke/clip-vit-{arch[name]}_*"],
    ):
        said = f"{weight / 1e9:.1f} GB" if weight >= 1e9 else f"{weight / 1e6:.0f} MB"
        assert said in head
