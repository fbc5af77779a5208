"""Where CLIP's experts are: task sets that nobody fine-tuned it on, two spellings."""

import shutil

import pytest
import torch

from tadrop.types import TadropError
from tests.models.test_clip import opened, stream_of

VISION30 = ("tasks=vision30", "tasks.names=[mnist,vegetables]")


@pytest.mark.parametrize("source", ["hub", "tall_masks"])
def test_a_task_set_of_another_backbone_says_which(clip_hub, tmp_path, source):
    words = (*VISION30, f"model.source={source}")
    with pytest.raises(TadropError) as error:
        opened(clip_hub, tmp_path, *words)
    line = str(error.value)
    assert "\n" not in line
    assert "nobody publishes model=vit_b32" in line
    assert "there is model=vit_b16_linear" in line
    assert "model.source=local" in line


def test_models_of_ones_own_may_be_of_any_tasks(clip_hub, tmp_path):
    place = f"'{tmp_path}/{{task}}'"
    words = ("model.source=local", f"model.sources.local={place}")
    model = opened(clip_hub, tmp_path, *VISION30, *words)
    assert model.tasks.names == ("mnist", "vegetables")


def test_folders_of_tall_masks_may_be_spelled_either_way(clip_hub, tmp_path):
    words = ("model.source=tall_masks", "tasks.names=[mnist,eurosat]")
    first = stream_of(opened(clip_hub, tmp_path, *words))
    other = tmp_path / "hub"
    shutil.copytree(clip_hub, other)
    folder = other / "models/nik-dim/tall_masks/single_task"
    (folder / "ViT-B-32").rename(folder / "VIT-B-32")
    second = stream_of(opened(other, tmp_path, *words))
    for name in first.names:
        assert torch.equal(first.taus(name), second.taus(name))
    shutil.rmtree(folder)
    with pytest.raises(TadropError, match=r"ViT-B-32/MNISTVal/nonlinear_finetuned"):
        stream_of(opened(other, tmp_path, *words))
