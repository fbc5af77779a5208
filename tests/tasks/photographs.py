"""Tasks of a few small images for the tests of this room."""

from pathlib import Path

import torch
from PIL import Image

from tadrop.tasks.vision import VisionTasks

CONF = str(Path(__file__).parents[2] / "conf")


SIZE = {"size": 24}


def suite(hub, tmp_path, names=("mnist",), **options):
    words = {
        "strict": False,
        "batch": 16,
        "registry": "vision",
        "preprocess": SIZE,
    } | options
    return VisionTasks(
        names=names, hub_dir=str(hub), cache=str(tmp_path / "cache"), **words
    )


def gathered(tasks, task, split="test"):
    pairs = list(tasks.batches(task, split))
    return torch.cat([images for images, _ in pairs]), torch.cat(
        [labels for _, labels in pairs]
    )


def folder_of(root, splits):
    for split in splits:
        for level, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(10):
                Image.new("RGB", (20, 20), (level * 100, 10 * i, 0)).save(
                    root / split / name / f"{i}.png"
                )
