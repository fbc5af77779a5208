"""Image tasks: the transform to the last bit, the cache, expected counts, columns, splits, folders,
registries.
"""

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from pyarrow.parquet import ParquetFile

from tadrop.storage import hub as hubs
from tadrop.tasks.reading import images as cache_module
from tadrop.tasks.reading import sampling
from tadrop.tasks.reading.hub_source import HubSource
from tadrop.tasks.reading.images import prepare
from tadrop.tasks.reading.registry import REGISTRIES, registry
from tadrop.tasks.reading.sampling import validation_indices
from tadrop.tasks.vision import VisionTasks
from tadrop.types import TadropError
from tests import tiny_clip as tiny

CONF = str(Path(__file__).parents[2] / "conf")
SIZE = {"size": 24}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    for task in tiny.TASKS:
        tiny.write_dataset(folder, task)
    return folder


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


def test_a_cut_is_refused_unless_it_is_asked_for(hub, tmp_path):
    with pytest.raises(
        TadropError, match=r"mnist has 40 of 10000 test examples.*tasks.strict=false"
    ):
        suite(hub, tmp_path, strict=True).fingerprint("mnist", "test")
    lenient = suite(hub, tmp_path)
    lenient.fingerprint("mnist", "test")
    assert "not strict, mnist has 40 of 10000 test examples" in lenient.protocol()
    entries = {"mnist": {"test": 40}}
    exact = suite(hub, tmp_path, strict=True, entries=entries)
    exact.fingerprint("mnist", "test")
    assert "strict" not in exact.protocol()


def test_a_cut_in_classes_is_refused_or_brings_its_own_names(hub, tmp_path):
    entries = {"eurosat": {"classes": ["a", "b"], "test": 40}}
    with pytest.raises(TadropError, match="eurosat has 10 of 2 classes"):
        suite(hub, tmp_path, ("eurosat",), strict=True, entries=entries).fingerprint(
            "eurosat", "test"
        )
    assert (
        suite(hub, tmp_path, ("eurosat",), entries=entries).classes("eurosat")[3]
        == "class 3"
    )
    assert suite(hub, tmp_path, ("eurosat",)).classes("eurosat")[1] == "forest"


def test_columns_of_the_webdataset_version(hub, tmp_path):
    _, labels = gathered(suite(hub, tmp_path, ("fer2013",)), "fer2013")
    assert Counter(labels.tolist()) == Counter(i % 7 for i in range(40))
    with pytest.raises(TadropError, match=r"no column 'image'; it has jpg, cls"):
        suite(
            hub, tmp_path, ("fer2013",), entries={"fer2013": {"image": "image"}}
        ).fingerprint("fer2013", "test")


def test_labels_may_be_bool_and_test_may_be_called_validation(tmp_path):
    """PCam's labels are true and false, Food-101's test split is called validation."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": Value("bool")})
    rows = [
        {"bytes": tiny.png(np.full((9, 9, 3), 40 * i, np.uint8)), "path": None}
        for i in range(6)
    ]
    data = Dataset.from_dict(
        {"image": rows, "label": [i % 2 == 0 for i in range(6)]}, features=features
    )
    folder = tmp_path / "datasets/extra/tumours/data"
    folder.mkdir(parents=True)
    data.to_parquet(folder / "validation-00000-of-00001.parquet")
    entry = {
        "id": "extra/tumours",
        "splits": {"test": "validation"},
        "classes": ["healthy", "tumour"],
    }
    tasks = suite(tmp_path, tmp_path, ("tumours",), entries={"tumours": entry})
    assert gathered(tasks, "tumours")[1].tolist() == [1, 0, 1, 0, 1, 0]


def test_a_limit_takes_the_same_seeded_examples(hub, tmp_path):
    one, two = (
        gathered(suite(hub, tmp_path / name, limit=8), "mnist") for name in "ab"
    )
    assert torch.equal(one[0], two[0])
    assert len(one[1]) == 8
    everything = gathered(suite(hub, tmp_path), "mnist")
    assert not torch.equal(one[0], everything[0][:8])
    assert suite(hub, tmp_path, limit=8, strict=True).classes(
        "mnist"
    )  # a limit is not a wrong count


def sorted_by_class(folder, groups):
    """100 images of 10 classes, in order of class, in row groups of 10; the pixel is the row."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": Value("int64")})
    rows = [
        {"bytes": tiny.png(np.full((9, 9, 3), i, np.uint8)), "path": None}
        for i in range(100)
    ]
    data = Dataset.from_dict(
        {"image": rows, "label": [i // 10 for i in range(100)]}, features=features
    )
    folder = folder / "datasets/extra/ordered/data"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        for at in range(2):
            data.shard(2, at, contiguous=True).to_parquet(
                folder / f"{split}-0000{at}-of-00002.parquet", batch_size=groups
            )


def test_a_limit_is_a_sample_of_the_whole_split(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "PER_GROUP", 2)
    sorted_by_class(tmp_path, 10)
    entry = {"ordered": {"id": "extra/ordered", "classes": [str(i) for i in range(10)]}}
    read = []
    whole = ParquetFile.read_row_group
    monkeypatch.setattr(
        ParquetFile,
        "read_row_group",
        lambda file, at, *a: read.append(at) or whole(file, at, *a),
    )

    def rows(limit, split="test"):
        images, labels = gathered(
            suite(tmp_path, tmp_path, ("ordered",), entries=entry, limit=limit),
            "ordered",
            split,
        )
        assert (images[:, 0, 0, 0] // 10 == labels).all()
        return set(images[:, 0, 0, 0].tolist())

    few, more = rows(8), rows(20)
    assert len(read) == 4 + 10  # two rows of each group; nothing else is read
    assert few < more
    assert Counter(row // 10 for row in more) == dict.fromkeys(
        range(10), 2
    )  # every class
    assert len(rows(99)) == 99
    assert len(rows(1000)) == 100
    train, held = rows(50, "train"), rows(7, "validation")
    assert (len(train), len(held)) == (50, 7)
    assert held <= validation_indices(100)
    assert not train & validation_indices(100)


def test_a_limit_on_files_that_cannot_be_read_in_part(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(
        HubSource, "_parquet", lambda self, split: []
    )  # as of a tar archive
    images = gathered(suite(hub, tmp_path, limit=8), "mnist")[0]
    everything = gathered(suite(hub, tmp_path), "mnist")[0].flatten(1).tolist()
    at = [everything.index(image) for image in images.flatten(1).tolist()]
    assert len(set(at)) == 8
    assert max(at) > 20


def test_train_and_validation_do_not_meet(hub, tmp_path):
    tasks = suite(hub, tmp_path, ("eurosat",))
    train, held = (
        gathered(tasks, "eurosat", split)[0].flatten(1)
        for split in ("train", "validation")
    )
    assert (len(train), len(held)) == (54, 6)
    assert not any((train == row).all(1).any() for row in held)
    assert len(validation_indices(600_000)) == 5000


def folder_of(root, splits):
    for split in splits:
        for level, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(10):
                Image.new("RGB", (20, 20), (level * 100, 10 * i, 0)).save(
                    root / split / name / f"{i}.png"
                )


@pytest.mark.parametrize("splits", [("train", "test"), ("",)])
def test_folders_of_images(tmp_path, splits):
    folder_of(tmp_path / "pets", splits)
    tasks = suite(
        tmp_path,
        tmp_path,
        ("pets",),
        entries={"pets": {"folder": str(tmp_path / "pets"), "holdout": 0.3}},
    )
    images, labels = gathered(tasks, "pets")
    assert tasks.classes("pets") == ("cat", "dog")
    assert Counter(labels.tolist()) == (
        {0: 10, 1: 10} if len(splits) == 2 else {0: 3, 1: 3}
    )
    assert (images[:, 0, 0, 0] == labels * 100).all()
    if len(splits) == 1:
        train = gathered(tasks, "pets", "train")[0]
        assert not {tuple(i[0, 0].tolist()) for i in train} & {
            tuple(i[0, 0].tolist()) for i in images
        }


def test_a_data_set_needs_no_entry(hub, tmp_path):
    tasks = suite(hub, tmp_path, ("tanganke/eurosat",))
    assert tasks.classes("tanganke/eurosat")[9] == "class 9"
    assert tasks.entry("tanganke/eurosat").templates == ("a photo of a {}.",)


def test_variants_change_an_entry_and_stand_in_the_protocol(hub, tmp_path):
    tasks = suite(hub, tmp_path, ("kmnist",), variants={"kmnist": "romaji"})
    assert tasks.entry("kmnist").classes[2] == "su"
    assert "kmnist romaji" in tasks.protocol()
    with pytest.raises(TadropError, match="it has digits"):
        suite(hub, tmp_path, ("emnist",), variants={"emnist": "hieroglyphs"})
    with pytest.raises(TadropError, match="no data set"):
        suite(hub, tmp_path, ("emnist",), variants={"emnist": "digits"}).classes(
            "emnist"
        )


def test_mistakes_are_named(hub, tmp_path, monkeypatch):
    with pytest.raises(
        TadropError, match=r"no task is called 'minst'; there are sun397"
    ):
        suite(hub, tmp_path, ("minst",))
    with pytest.raises(TadropError, match="unknown key 'clases'"):
        suite(hub, tmp_path, ("mnist",), entries={"mnist": {"clases": []}})
    with pytest.raises(TadropError, match="no such registry"):
        suite(hub, tmp_path, registry="vizion")
    with pytest.raises(TadropError, match="at least 1"):
        suite(hub, tmp_path, limit=0)
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    with pytest.raises(
        TadropError,
        match=r"needs tanganke/gtsrb; looked in .*no network.*DIR/datasets/tanganke/gtsrb",
    ):
        suite(hub, tmp_path, ("gtsrb",)).classes("gtsrb")


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
    with pytest.raises(TadropError, match="cannot be decoded"):
        tasks.classes("pets")


def test_registries_hold_together():
    vision = registry("vision")
    assert len(vision) == 20
    assert {len(e["classes"]) for e in vision.values()} >= {
        397,
        196,
        102,
        101,
        100,
        47,
        45,
        43,
        37,
        26,
    }
    for name, entry in vision.items():
        assert len(set(entry["classes"])) == len(entry["classes"]), name
        assert all(isinstance(c, str) for c in entry["classes"]), name
        assert all("{}" in t for t in entry["templates"]), name
    assert [
        len(vision[t]["templates"])
        for t in ("sun397", "stanford-cars", "resisc45", "cifar100")
    ] == [2, 8, 18, 18]


@pytest.mark.parametrize("family", ["vision", "offline"])
@pytest.mark.parametrize("count", [8, 14, 20, 30])
def test_each_list_contains_the_one_before(family, count):
    with initialize_config_dir(CONF, version_base="1.3"):
        names = compose(
            "config", ["model=vit_b32", f"tasks={family}{count}"]
        ).tasks.names
        assert len(set(names)) == count
        if family == "offline" or count < 30:
            assert set(names) <= set(
                registry("offline" if family == "offline" else "vision")
            )
        if count in (14, 20):
            smaller = compose(
                "config", ["model=vit_b32", f"tasks={family}{ {14: 8, 20: 14}[count] }"]
            ).tasks.names
            assert names[: len(smaller)] == smaller


def test_published_accuracies_average_to_what_their_sources_print():
    table = yaml.safe_load((REGISTRIES / "published.yaml").read_text())
    assert {
        len(table[s][m])
        for s in ("hub", "tall_masks")
        for m in ("vit_b32", "vit_b16", "vit_l14")
    } == {20}
    means = {
        m: np.mean(list(table["tall_masks"][m].values()))
        for m in ("vit_b32", "vit_b16", "vit_l14")
    }
    assert {m: round(v, 2) for m, v in means.items()} == {
        "vit_b32": 91.37,
        "vit_b16": 93.17,
        "vit_l14": 94.73,
    }
    assert (
        round(np.mean(list(table["vision30"]["vit_b16_linear"].values())), 2) == 93.02
    )
    for source, models in table.items():
        known = set(registry(source if source == "vision30" else "vision"))
        assert all(set(models[m]) <= known for m in models if m != "source")


SUFFIXES = (  # dashes and lines mixed
    "sun397 stanford-cars resisc45 eurosat svhn gtsrb mnist dtd oxford_flowers102 pcam fer2013 oxford-iiit-pet "
    "stl10 cifar100 cifar10 food101 fashion_mnist emnist_letters kmnist rendered-sst2"
)
TALL = (
    "SUN397 Cars RESISC45 EuroSAT SVHN GTSRB MNIST DTD Flowers102 PCAM FER2013 OxfordIIITPet STL10 CIFAR100 CIFAR10 "
    "Food101 FashionMNIST EMNIST KMNIST RenderedSST2"
)


def test_names_are_spelled_as_each_lineage_spells_them():
    with initialize_config_dir(CONF, version_base="1.3"):
        names = compose("config", ["model=vit_b32", "tasks=vision20"]).tasks.names
    tasks = VisionTasks(names=names, registry="vision", preprocess=SIZE)
    assert {tasks.entry(name).hub for name in names} == set(SUFFIXES.split())
    assert {tasks.entry(name).tall for name in names} == set(TALL.split())
    assert (
        tasks.entry("stanford-cars").id == "tanganke/stanford_cars"
    )  # the model's name has a dash, the data's none
    assert all(
        "/" in tasks.entry(name).id for name in names
    )  # ids without an organisation are gone from the hub
    assert list(tasks.entry("fer2013").classes) == sorted(
        tasks.entry("fer2013").classes
    )  # not Kaggle's order


def test_splits_and_columns_beyond_the_usual_are_left_alone(tmp_path):
    """GTSRB has seven corrupted test splits, pets have more label columns, flowers a validation
    split of their own.
    """
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "label": Value("int64"),
            "label_cat_dog": Value("int64"),
        }
    )
    folder = tmp_path / "datasets/extra/signs/data"
    folder.mkdir(parents=True)
    for level, (split, count) in enumerate(
        {"train": 20, "test": 4, "contrast": 5, "validation": 3}.items()
    ):
        rows = [
            {"bytes": tiny.png(np.full((9, 9, 3), level, np.uint8)), "path": None}
        ] * count
        data = Dataset.from_dict(
            {"image": rows, "label": [0] * count, "label_cat_dog": [1] * count},
            features=features,
        )
        data.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    tasks = suite(
        tmp_path,
        tmp_path,
        ("signs",),
        entries={"signs": {"id": "extra/signs", "classes": ["stop"]}},
    )
    for split, level, count in (("train", 0, 18), ("validation", 0, 2), ("test", 1, 4)):
        images, labels = gathered(tasks, "signs", split)
        assert (len(images), set(images.flatten().tolist()), set(labels.tolist())) == (
            count,
            {level},
            {0},
        )


def test_letters_stay_as_they_are_stored():
    """EMNIST's images lie on their side on the hub, and its checkpoints were trained on them so."""
    letter = np.zeros((24, 24), np.uint8)
    letter[:4] = 255
    assert (prepare(Image.fromarray(letter), 24)[:, :, 0] == letter).all()


def test_accuracies_of_another_protocol_are_not_shown_as_this_ones():
    """EMNIST is letters on the hub and digits with TALL-masks; 95 and 99 % do not compare."""
    names = ["emnist", "mnist"]
    letters = VisionTasks(names=names, registry="vision", preprocess=SIZE)
    digits = VisionTasks(
        names=names, registry="vision", preprocess=SIZE, variants={"emnist": "digits"}
    )
    shown = {"hub": (letters, digits), "tall_masks": (digits, letters)}
    for source, (same, other) in shown.items():
        assert set(same.published(source, "vit_b32")) == {"emnist", "mnist"}
        assert set(other.published(source, "vit_b32")) == {"mnist"}


def test_individual_accuracies_are_not_the_leaked_ones():
    """TALL-masks' published DTD numbers (97.98, 98.51) were of models that had been trained on the
    test images.
    """
    tasks = VisionTasks(names=["dtd", "mnist"], registry="vision", preprocess=SIZE)
    for model in ("vit_b32", "vit_b16", "vit_l14"):
        assert set(tasks.published("tall_masks", model)) == {"mnist"}
        assert tasks.published("hub", model)["dtd"] < 90
