"""The embedded tasks: images never change under one version, which names their cache."""

import hashlib
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from tadrop.tasks import glyphs
from tadrop.tasks.drawing.families import NAMES
from tadrop.tasks.glyphs import VERSION, GlyphTasks
from tadrop.types import TadropError

CONF = Path(__file__).parents[2] / "conf"

# What the generator makes, by version. Where the test below fails, images have changed:
# numbers are not comparable with those before, so VERSION goes up and gets a line here.
# A new release of Pillow, matplotlib, NumPy or scikit-learn may be the cause.
PINNED = {1: "46b62663259b816a", 2: "5e63e4bcd19740d7"}


@pytest.fixture(autouse=True)
def _nothing_in_memory():
    glyphs.load.cache_clear()
    yield
    glyphs.load.cache_clear()


def test_a_version_says_which_images_there_are():
    digest = hashlib.sha256(repr(glyphs.SPLITS).encode())
    for task in NAMES:
        digest.update("".join(glyphs.classes(task)).encode())
        for split in glyphs.SPLITS:
            images, labels = glyphs.generate(task, split, 5)
            digest.update(images.tobytes() + labels.tobytes())
    assert PINNED[VERSION] == digest.hexdigest()[:16]


def test_caches_and_records_are_named_by_the_version(tmp_path, monkeypatch):
    tasks = GlyphTasks(["handwritten_digits"], cache=str(tmp_path))
    assert tasks.protocol() == f"glyphs-{VERSION}"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", ["tasks=glyph8"]).tasks
    assert node.family == f"glyphs-{VERSION}"
    tasks.fingerprint("handwritten_digits", "validation")
    glyphs.load.cache_clear()
    monkeypatch.setattr(glyphs, "generate", lambda *_: pytest.fail("drawn again"))
    tasks.fingerprint("handwritten_digits", "validation")
    monkeypatch.setattr(glyphs, "VERSION", VERSION + 1)
    glyphs.load.cache_clear()
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        tasks.fingerprint("handwritten_digits", "validation")


def test_a_cache_does_not_depend_on_where_the_code_lies(monkeypatch):
    name = glyphs.edition()
    monkeypatch.setattr(glyphs, "__file__", "/elsewhere/drawings.py")
    monkeypatch.setattr(glyphs, "__name__", "elsewhere.drawings")
    assert glyphs.edition() == name


def test_batches_are_the_split_in_order(tmp_path):
    tasks = GlyphTasks(["braille"], limit=7, batch=3)
    batches = list(tasks.batches("braille", "validation"))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    pixels = torch.cat([images for images, _ in batches])
    assert pixels.shape == (7, 1, 28, 28)
    images, labels = glyphs.generate("braille", "validation")
    expected = torch.from_numpy(images[:7]).float() / 127.5 - 1
    torch.testing.assert_close(pixels[:, 0], expected)
    assert torch.cat([part for _, part in batches]).tolist() == labels[:7].tolist()


def test_mistakes_are_named():
    with pytest.raises(TadropError, match="no glyph task is called 'runes'; there are"):
        GlyphTasks(["runes"])
    with pytest.raises(TadropError, match="at least 1"):
        GlyphTasks(["braille"], limit=0)
