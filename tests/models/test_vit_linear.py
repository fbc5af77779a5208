"""ViT classifiers with a head of each task's own, on the 30-task list, against transformers' own
predictions.
"""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from tadrop.app.runs import run as runner
from tadrop.tasks.reading.registry import registry
from tests import tiny_clip as tiny
from tests.models.test_clip import CONF

SIDE, IMAGES = 28, 6
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
CLASSES = ("left", "middle", "right")
FEW = (
    "vegetables",
    "beans",
    "food101",
)  # a folder, a column of another name, a test split of another name


def pictures(task, split):
    """[n, side, side, 3] uint8 and labels in class order, as folders are read."""
    rng = np.random.default_rng([*task.encode(), len(split)])
    return rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8), np.sort(
        np.arange(IMAGES) % len(CLASSES)
    )


def write_data(hub, task, entry):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    for split in ("train", "test"):
        images, labels = pictures(task, split)
        if "folder" in entry:
            for at, (image, label) in enumerate(zip(images, labels, strict=True)):
                file = (
                    hub
                    / "datasets"
                    / entry["folder"]
                    / split
                    / CLASSES[label]
                    / f"{at}.png"
                )
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
            continue
        label, name = (
            entry.get("label", "label"),
            entry.get("splits", {}).get(split, split),
        )
        features = Features(
            {"image": ImageFeature(), label: ClassLabel(names=list(CLASSES))}
        )
        rows = [{"bytes": tiny.png(image), "path": None} for image in images]
        folder = hub / "datasets" / entry["id"] / "data"
        folder.mkdir(parents=True, exist_ok=True)
        data = Dataset.from_dict(
            {"image": rows, label: labels.tolist()}, features=features
        )
        data.to_parquet(folder / f"{name}-00000-of-00001.parquet")


def model(seed=None):
    """The base, or a fine-tuned copy with a head of its own."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    made = ViTForImageClassification(
        ViTConfig(**SIZES, image_size=SIDE, patch_size=14, num_labels=len(CLASSES))
    ).eval()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in made.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def write_hub(hub, tasks):
    model().save_pretrained(hub / "models/google/vit-base-patch16-224")
    for seed, task in enumerate(tasks, start=1):
        model(seed).save_pretrained(hub / "models/emr30" / task)
        write_data(hub, task, registry("vision30")[task])


def configured(hub, tmp_path, tasks, *overrides):
    places = [
        f"paths.hub={hub}",
        f"paths.cache={tmp_path / 'cache'}",
        f"paths.records={tmp_path / 'records'}",
    ]
    names = f"tasks.names=[{','.join(tasks)}]"
    with initialize_config_dir(CONF, version_base="1.3"):
        words = [
            "model=vit_b16_linear",
            *places,
            names,
            f"model.preprocess.size={SIDE}",
            "device=cpu",
            "tadrop=off",
        ]
        return compose("config", [*words, *overrides])


LISTS = [
    pytest.param(FEW, id="3"),
    pytest.param(tuple(registry("vision30")), id="30", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("tasks", LISTS)
def test_the_whole_way(tmp_path, tasks):
    write_hub(tmp_path / "hub", tasks)
    record = runner.run(
        configured(tmp_path / "hub", tmp_path, tasks, "merge=individual")
    )
    for seed, (task, score) in enumerate(
        zip(tasks, record["scores"], strict=True), start=1
    ):
        images, labels = pictures(task, "test")
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        with torch.inference_mode():
            right = model(seed)(pixel_values=pixels).logits.argmax(1).numpy() == labels
        assert (score["task"], score["count"], score["value"]) == (
            task,
            IMAGES,
            right.mean(),
        )
    assert set(record["published"]) == set(tasks)
    merged = runner.run(
        configured(tmp_path / "hub", tmp_path, tasks, "merge=emr", "tadrop=on")
    )
    assert 0 < merged["density"] < 1
    assert not any(name.startswith("classifier") for name in merged["private"])
    assert len(merged["scores"]) == len(tasks)


def test_methods_that_look_at_data_see_every_tensor(tmp_path):
    """transformers calls its modules otherwise than its files; nothing may be averaged for want of
    a name.
    """
    write_hub(tmp_path / "hub", FEW[:2])
    for row in ("fisher_batch", "regmean", "surgery"):
        small = {"surgery": "merge.refine.steps=2"}.get(
            row, "merge.statistics.examples=4"
        )
        runner.run(
            configured(tmp_path / "hub", tmp_path, FEW[:2], f"merge={row}", small)
        )
    from tadrop.storage.checkpoint import open_checkpoint

    found = {
        len(open_checkpoint(f).tensors)
        for f in (tmp_path / "cache/statistics").iterdir()
    }
    tower = sum(name.startswith("vit.") for name in model().state_dict())
    assert found == {
        tower,
        2 * 6,
    }  # Fisher: every tensor; RegMean: six matrices a layer
