"""Images made ready: the transform to the last bit, and the cache."""

import hashlib
import io
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from tadrop.tasks.reading import images as cache_module
from tadrop.tasks.reading import sampling
from tadrop.tasks.reading.folder_source import FolderSource
from tadrop.tasks.reading.hub_source import HubSource
from tadrop.tasks.reading.images import RESIZES, VERSION, prepare
from tadrop.tasks.vision import VisionTasks
from tadrop.types import TadropError
from tests import tiny_clip as tiny
from tests.tasks.photographs import SIZE, folder_of, gathered, suite


def picture(mode, width, height):
    rng = np.random.default_rng(width * height)
    image = Image.fromarray(
        rng.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA"
    )
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "LA", "CMYK"])
@pytest.mark.parametrize(
    "shape", [(64, 48), (31, 57), (224, 224), (28, 28), (500, 333), (225, 226)]
)
def test_the_transform_is_open_clips_to_the_last_bit(mode, shape):
    image = picture(mode, *shape)
    mean, std = (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    )
    theirs = open_clip.image_transform(224, is_train=False, mean=mean, std=std)(image)
    pixels = (
        torch.from_numpy(prepare(image, 224).copy()).permute(2, 0, 1).float().div(255)
    )
    ours = pixels.sub_(torch.tensor(mean).view(3, 1, 1)).div_(
        torch.tensor(std).view(3, 1, 1)
    )
    assert torch.equal(ours, theirs)


def test_squash_keeps_the_whole_image():
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 5, 20))
    assert prepare(image, 16, "squash")[8, 0, 0] > 200
    assert prepare(image, 16, "shortest")[8, 0, 0] < 50


def test_images_are_decoded_once(hub, tmp_path, monkeypatch):
    first = gathered(suite(hub, tmp_path), "mnist")
    monkeypatch.setattr(
        cache_module, "prepare", lambda *_: pytest.fail("decoded again")
    )
    again = gathered(suite(hub, tmp_path), "mnist")
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[0].dtype == torch.uint8
    assert first[0].shape == (40, 24, 24, 3)
    with pytest.raises(pytest.fail.Exception):
        gathered(suite(hub, tmp_path, preprocess={"size": 20}), "mnist")


def test_new_data_are_seen(hub, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(hub, copy)
    before = suite(copy, tmp_path).fingerprint("mnist", "test")
    tiny.write_dataset(copy, "mnist", count=30)
    after = suite(copy, tmp_path)
    assert after.fingerprint("mnist", "test") != before
    assert len(gathered(after, "mnist")[0]) == 30


def test_a_damaged_cache_is_named(hub, tmp_path):
    suite(hub, tmp_path).fingerprint("mnist", "test")
    file = next((tmp_path / "cache").rglob("images.u8"))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(TadropError, match="damaged"):
        suite(hub, tmp_path).fingerprint("mnist", "test")


def test_an_interrupted_build_leaves_nothing(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_decode", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        suite(hub, tmp_path).fingerprint("mnist", "test")
    assert list((tmp_path / "cache" / "images").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "not an image"])
def test_a_bad_image_is_an_error(tmp_path, damage):
    folder_of(tmp_path / "pets", ("train", "test"))
    file = tmp_path / "pets/test/cat/3.png"
    buffer = io.BytesIO()
    picture("RGB", 50, 50).save(buffer, "PNG")
    file.write_bytes(buffer.getvalue()[:900] if damage == "truncated" else b"hello")
    tasks = suite(
        tmp_path,
        tmp_path,
        ("pets",),
        entries={"pets": {"folder": str(tmp_path / "pets")}},
    )
    where = re.escape(str(file))
    with pytest.raises(TadropError, match=rf"^{where}: .*cannot be decoded"):
        tasks.classes("pets")


def test_letters_stay_as_they_are_stored():
    """EMNIST's images lie on their side on the hub, and its checkpoints were trained on them so."""
    letter = np.zeros((24, 24), np.uint8)
    letter[:4] = 255
    assert (prepare(Image.fromarray(letter), 24)[:, :, 0] == letter).all()


# What images are made of, by version. Where this fails, other pixels or other rows are
# cached under the same names: VERSION goes up and gets a line here.
PINNED = {1: "61092e451a64f99d"}


def test_a_version_says_which_pixels_and_rows_there_are():
    digest = hashlib.sha256()
    for resize in RESIZES:
        digest.update(prepare(picture("RGB", 31, 57), 24, resize).tobytes())
    rows = sampling.usable(1000, "train")
    groups = sampling.scattered([100] * 10, rows, 25)
    chosen = [sorted(sampling.validation_indices(1000)), sampling.sample(1000, 25)]
    digest.update(repr([*chosen, groups]).encode())
    assert PINNED[VERSION] == digest.hexdigest()[:16]


def test_the_names_of_cached_images_last():
    """They are made of stable words, and never of where code lies or what it is called."""
    tasks = VisionTasks(names=["mnist"], registry="vision", preprocess=SIZE, limit=5)
    folder = FolderSource("DIR", [("a.png", 1, 2)], {"test": "val"}, 0.2)
    columns = ("image", "label", {})
    data_set = HubSource("org/name", "commit", None, "main", *columns)
    names = [tasks._key(source, "test") for source in (folder, data_set)]
    assert names == ["b786360cab5842effb5fe4ba", "b4492173d7c4b16e912eb506"]


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    folder_of(tmp_path / "pets", ("train", "test"))
    folder = FolderSource(str(tmp_path / "pets"), [], {}, 0.2)
    rows = folder.rows("test", None)
    victim = tmp_path / "pets" / "test" / "dog" / "9.png"
    first = next(rows)
    assert first.file == str(tmp_path / "pets" / "test" / "cat" / "0.png")
    victim.unlink()
    with pytest.raises(
        TadropError, match=rf"^{re.escape(str(victim))}: cannot be read"
    ):
        list(rows)
