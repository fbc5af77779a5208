"""Every data set in the layout that the public one has: columns, configurations, splits
and archives, as the registry's entry names them.
"""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature

from tadrop.storage.data_card import check_shards, read_card, split_files
from tadrop.tasks.reading.registry import registry
from tadrop.types import TadropError
from tests.tasks.photographs import gathered, suite
from tests.tasks.public_layouts import picture, write_tars


def write(folder, files, label="label", names=None, value="int64", **extra):
    """Parquet files of pictures that tell their row; files: rows by path.

    label: the column of row % classes; names: its class names; extra: further columns
    """
    feature = ClassLabel(names=names) if names else Value(value)
    features = Features(
        {"image": ImageFeature(), label: feature}
        | {column: Value("string") for column in extra}
    )
    classes = len(names) if names else 2
    for path, count in files.items():
        columns = {"image": [], label: []}
        for row in range(count):
            columns["image"].append({"bytes": picture(row), "path": None})
            columns[label].append(bool(row % 2) if value == "bool" else row % classes)
        for column, filled in extra.items():
            columns[column] = [filled] * count
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(columns, features=features).to_parquet(file)


def read(tmp_path, task, split="test", **options):
    """(rows in order, labels) of a task, with the registry's entry as it is."""
    images, labels = gathered(
        suite(tmp_path, tmp_path, (task,), **options), task, split
    )
    return images[:, 0, 0, 0].tolist(), labels.tolist()


def place(tmp_path, task):
    return tmp_path / "datasets" / registry("vision")[task]["id"]


def test_emnist_letters(tmp_path):
    """26 letters, labels from 0, on their side as they are stored."""
    names = [chr(ord("A") + number) for number in range(26)]
    files = {
        "data/train-00000-of-00001.parquet": 30,
        "data/test-00000-of-00001.parquet": 52,
    }
    write(place(tmp_path, "emnist"), files, names=names)
    rows, labels = read(tmp_path, "emnist")
    assert rows == list(range(52))
    assert labels == [row % 26 for row in rows]
    tasks = suite(tmp_path, tmp_path, ("emnist",))
    assert tasks.classes("emnist")[25] == "Z"


def test_kmnist(tmp_path):
    """Class names of the data are romaji, those of the heads hiragana."""
    names = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    files = {
        "data/train-00000-of-00001.parquet": 20,
        "data/test-00000-of-00001.parquet": 10,
    }
    write(place(tmp_path, "kmnist"), files, names=names)
    assert read(tmp_path, "kmnist") == (list(range(10)), list(range(10)))
    entries = {"kmnist": {"test": 10}}
    strict = suite(tmp_path, tmp_path, ("kmnist",), strict=True, entries=entries)
    assert strict.classes("kmnist")[0] == "お"


def test_pcam(tmp_path):
    """Labels are true and false, and there is a split called valid."""
    files = {
        "data/train-00000-of-00002.parquet": 12,
        "data/train-00001-of-00002.parquet": 8,
        "data/valid-00000-of-00001.parquet": 5,
        "data/test-00000-of-00001.parquet": 6,
    }
    write(place(tmp_path, "pcam"), files, value="bool")
    assert read(tmp_path, "pcam") == (list(range(6)), [0, 1, 0, 1, 0, 1])
    train, _ = read(tmp_path, "pcam", "train")
    held_out, _ = read(tmp_path, "pcam", "validation")
    assert len(train) == 18
    assert len(held_out) == 2


@pytest.mark.parametrize("limit", [None, 5])
def test_fer2013_in_archives(tmp_path, limit):
    """WebDataset: SPLIT/N.tar with NAME.jpg and NAME.cls, beside small text files."""
    write_tars(place(tmp_path, "fer2013"), count=14)
    rows, labels = read(tmp_path, "fer2013", limit=limit)
    shards = [*range(0, 14, 2), *range(1, 14, 2)]
    assert labels == [row % 7 for row in rows]
    assert len(rows) == (limit or 14)
    assert rows == [row for row in shards if row in rows]
    whole, _ = read(tmp_path, "fer2013", "train")
    held_out, _ = read(tmp_path, "fer2013", "validation")
    assert sorted(whole + held_out) == list(range(14))
    with pytest.raises(TadropError, match="no column 'image'; it has jpg, cls"):
        read(tmp_path, "fer2013", entries={"fer2013": {"image": "image"}})


SVHN = """---
dataset_info:
- config_name: cropped_digits
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names: {'1': one, '0': zero}
- config_name: full_numbers
  features:
  - name: image
    dtype: image
configs:
- config_name: cropped_digits
  data_files:
  - split: train
    path: cropped_digits/train-*
  - split: test
    path: cropped_digits/test-*
- config_name: full_numbers
  data_files:
  - split: test
    path: full_numbers/test-*
---
# SVHN
"""


def test_svhn_of_two_configurations(tmp_path):
    """Cropped digits are read, and not the full numbers beside them."""
    folder = place(tmp_path, "svhn")
    write(folder, {"cropped_digits/test-00000-of-00001.parquet": 4})
    write(folder, {"full_numbers/test-00000-of-00001.parquet": 9}, label="digits")
    (folder / "README.md").write_text(SVHN)
    assert read(tmp_path, "svhn") == (list(range(4)), [0, 1, 0, 1])
    assert suite(tmp_path, tmp_path, ("svhn",)).classes("svhn") == ("zero", "one")
    entries = {"svhn": {"config": "digits"}}
    with pytest.raises(
        TadropError, match="cropped_digits, full_numbers; config=digits"
    ):
        read(tmp_path, "svhn", entries=entries)


PETS = """---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names: {'0': abyssinian, '1': beagle, '2': bengal}
  - name: label_cat_dog
    dtype:
      class_label:
        names: {'0': cat, '1': dog}
---
"""


def test_oxford_pets(tmp_path):
    """The label is the breed, and not the cat or dog beside it."""
    folder = place(tmp_path, "oxford-iiit-pet")
    files = {
        "data/test-00000-of-00002.parquet": 4,
        "data/test-00001-of-00002.parquet": 3,
    }
    names = ["abyssinian", "beagle", "bengal"]
    write(folder, files, names=names, image_id="x", label_cat_dog="dog")
    (folder / "README.md").write_text(PETS)
    rows, labels = read(tmp_path, "oxford-iiit-pet")
    assert rows == [0, 1, 2, 3, 0, 1, 2]
    assert labels == [0, 1, 2, 0, 0, 1, 2]
    tasks = suite(tmp_path, tmp_path, ("oxford-iiit-pet",))
    assert tasks.classes("oxford-iiit-pet") == tuple(names)


def test_images_may_be_bytes_without_a_path(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = place(tmp_path, "mnist")
    folder.mkdir(parents=True)
    table = pa.table({"image": [picture(row) for row in range(3)], "label": [0, 1, 2]})
    pq.write_table(table, folder / "test.parquet")
    assert read(tmp_path, "mnist") == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize(
    ("header", "split", "files"),
    [
        ("data_files: 'b/*.parquet'", "train", ["b/x.parquet"]),
        ("data_files: {test: [a/**]}", "test", ["a/1.parquet", "a/c/2.parquet"]),
        ("data_files: [{split: test, path: [b/*]}]", "test", ["b/x.parquet"]),
        ("data_dir: a\n  data_files: {test: '*.parquet'}", "test", ["a/1.parquet"]),
        ("data_files: {test: 'b/*'}", "train", []),
    ],
)
def test_forms_of_a_header(header, split, files):
    text = f"---\nconfigs:\n- config_name: default\n  {header}\n---\n"
    names = ["a/1.parquet", "a/c/2.parquet", "b/x.parquet", "b/y.txt", "README.md"]
    assert split_files(names, read_card(text), None, split) == files


@pytest.mark.parametrize(
    ("names", "split", "files"),
    [
        (["data/test-00000-of-00001.parquet", "test/x.parquet"], "test", 0),
        (["testing/1.tar", "train/1.tar"], "test", 0),
        (["latest/1.tar", "my_test_set.tar"], "test", 1),
        (["attestation.tar"], "test", None),
        (["dev.parquet", "train.parquet"], "validation", 0),
        (["gaussian_noise-00000-of-00001.parquet"], "gaussian_noise", None),
        (["data/contrast-00000-of-00001.parquet"], "contrast", 0),
    ],
)
def test_without_a_header_names_tell(names, split, files):
    wanted = [] if files is None else [names[files]]
    assert split_files(names, read_card("no header"), None, split) == wanted


def test_the_files_are_those_that_the_library_takes(tmp_path):
    """Where every split is there, `datasets` takes the same files in the same order."""
    from datasets.data_files import DataFilesDict, get_data_patterns

    layouts = {
        "a": ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
        "b": [
            "train/0.parquet",
            "train/1.parquet",
            "test/10.parquet",
            "test/2.parquet",
        ],
        "c": ["x/train.parquet", "x/eval.parquet", "x/dev.parquet"],
        "d": ["cats-test.parquet", "cats-train.parquet", "cats-valid.parquet"],
    }
    for layout, names in layouts.items():
        for name in names:
            file = tmp_path / layout / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        base = str(tmp_path / layout)
        patterns = get_data_patterns(base)
        known = DataFilesDict.from_patterns(patterns, base_path=base)
        for split, files in known.items():
            inside = [str(file).removeprefix(f"{base}/") for file in files]
            assert split_files(names, read_card(""), None, str(split)) == inside


def test_shards_that_are_missing_are_named():
    check_shards([f"a-0000{number}-of-00003.parquet" for number in range(3)])
    with pytest.raises(TadropError, match="2 of 3 shards of a are there; number 1 is"):
        check_shards(["a-00000-of-00003.parquet", "a-00002-of-00003.parquet"])


def test_an_archive_that_is_none_is_named(tmp_path):
    folder = place(tmp_path, "fer2013") / "test"
    folder.mkdir(parents=True)
    (folder / "0.tar").write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    with pytest.raises(TadropError, match=r"0\.tar: not a readable tar archive"):
        read(tmp_path, "fer2013")
