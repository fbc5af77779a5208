import gc
import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # read when torch is first imported: workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What was imported and collected stays: garbage is not looked for in it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def choices_once():
    """Hydra reads the files behind the same choices once: see tests/choices.py."""
    from tests import choices

    with pytest.MonkeyPatch.context() as patch:
        choices.remember(patch)
        yield


@pytest.fixture(scope="session")
def repository():
    """The folder that holds run.py and conf/."""
    from pathlib import Path

    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def clip_model():
    from tests import tiny_clip as tiny

    return tiny.hf_clip()


@pytest.fixture(scope="session")
def clip_hub(clip_model, tmp_path_factory):
    """A folder in the hub's layout with a base, three experts in three formats, and
    three data sets.
    """
    from tests import tiny_clip as tiny

    folder = tmp_path_factory.mktemp("hub")
    tiny.write_base(folder, clip_model)
    for source in ("hub", "tall_masks", "task_vectors"):
        tiny.write_experts(folder, clip_model, source)
    for task in tiny.TASKS:
        tiny.write_dataset(folder, task)
    tiny.write_architecture(folder)
    return folder


@pytest.fixture(scope="session")
def beit3_hub(tmp_path_factory):
    """A folder in the hub's layout with a tiny BEiT-3, its five experts and their data."""
    pytest.importorskip("sentencepiece")
    from tests import tiny_beit3 as tiny

    folder = tmp_path_factory.mktemp("hub")
    tiny.write_models(folder / "models" / "beit3")
    tiny.write_data(folder / "datasets" / "beit3")
    return folder
