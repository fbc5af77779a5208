"""Image tasks: expected counts, columns, splits, samples, folders, mistakes."""

from collections import Counter

import numpy as np
import pytest
import torch
from pyarrow.parquet import ParquetFile

from tadrop.storage import hub as hubs
from tadrop.tasks.reading import sampling
from tadrop.tasks.reading.sampling import validation_indices
from tadrop.types import TadropError
from tests import tiny_clip as tiny
from tests.tasks.photographs import folder_of, gathered, suite
from tests.tasks.public_layouts import write_tars
from tests.tiny_clip import TASKS


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


def test_a_limit_on_files_that_cannot_be_read_in_part(tmp_path):
    write_tars(tmp_path / "datasets" / TASKS["fer2013"], count=60)
    names = ("fer2013",)
    images = gathered(suite(tmp_path, tmp_path, names, limit=8), "fer2013")[0]
    everything = gathered(suite(tmp_path, tmp_path, names), "fer2013")[0]
    rows = everything.flatten(1).tolist()
    at = [rows.index(image) for image in images.flatten(1).tolist()]
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
