"""Data sets that are damaged or made to do harm: one line that names place and cell."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tadrop.models.language.gpt2 import read_config
from tadrop.storage.data_card import read_card
from tadrop.storage.data_files import check_rows
from tadrop.tasks.reading.cells import class_number, encoded
from tadrop.tasks.reading.images import Row, build, open_images
from tadrop.tasks.reading.registry import registry
from tadrop.tasks.reading.tokens import read_rows, tokenise
from tadrop.types import TadropError
from tests.tasks.test_images import picture


def png(width, height):
    """A PNG file that says that it is as large as this, and holds nothing."""

    def chunk(kind, data):
        total = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", total)

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"")),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def good():
    import io

    buffer = io.BytesIO()
    picture("RGB", 20, 20).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "its 0 bytes cannot be decoded"),
        (b"no image", "its 8 bytes cannot be decoded"),
        (png(100_000, 100_000), "exceeds limit of"),
        (png(2**31 - 1, 1), "cannot be decoded"),
        (good()[:-40], "cannot be decoded"),
    ],
    ids=["empty", "text", "huge", "wide", "cut"],
)
def test_an_image_that_is_none(tmp_path, data, says):
    facts = {"source": "org/set", "split": "test"}
    rows = [Row(good(), 0), Row(data, 1)]
    with pytest.raises(TadropError) as error:
        build(tmp_path / "cache", rows, 8, "squash", facts)
    assert str(error.value).startswith("org/set, split 'test', image 1: ")
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "facts.json").write_text("{"),
        lambda folder: (folder / "facts.json").write_text("[]"),
        lambda folder: (folder / "facts.json").write_text('{"count": -1, "size": 8}'),
        lambda folder: (folder / "labels.npy").write_bytes(b""),
        lambda folder: np.save(folder / "labels.npy", np.zeros(5)),
        lambda folder: (folder / "images.u8").write_bytes(b"x"),
        lambda folder: (folder / "images.u8").unlink(),
    ],
    ids=range(7),
)
def test_a_damaged_cache_of_images(tmp_path, change):
    build(tmp_path / "cache", [Row(good(), 0)] * 2, 8, "squash", {})
    assert open_images(tmp_path / "cache").images.shape == (2, 8, 8, 3)
    change(tmp_path / "cache")
    with pytest.raises(
        TadropError, match=r"cache: the cached images are damaged; delete"
    ):
        open_images(tmp_path / "cache")


def test_a_data_set_names_no_file_of_this_machine(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    for value in ({"bytes": None, "path": str(secret)}, {"path": str(secret)}):
        with pytest.raises((TypeError, KeyError)):
            encoded(value, inside=True)
    assert encoded({"bytes": b"y", "path": str(secret)}, inside=True) == b"y"


@pytest.mark.parametrize("value", [None, 1.5, "x", [1], b"\xff"])
def test_what_is_no_class_number(value):
    with pytest.raises((TypeError, ValueError)):
        class_number(value)


def test_a_parquet_file_that_says_it_holds_billions():
    check_rows(60_000, "a.parquet")
    with pytest.raises(
        TadropError, match=r"a\.parquet: says that it holds 5,000,000,000"
    ):
        check_rows(5_000_000_000, "a.parquet")


def table(folder, **columns):
    path = folder / "test-00000.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"text": ["a"], "other": [0]},
            "no column called label; there are text, other",
        ),
        ({"text": [None], "label": [0]}, "column 'text' does not hold texts alone"),
        ({"text": [3], "label": [0]}, "column 'text' does not hold texts alone"),
        ({"text": ["a"], "label": [None]}, "not every label is a finite number"),
        (
            {"text": ["a"], "label": [float("nan")]},
            "not every label is a finite number",
        ),
        ({"text": ["a"], "label": [-1]}, "labels must be class numbers from 0"),
        ({"text": ["a"], "label": ["x"]}, "labels must be class numbers from 0"),
    ],
)
def test_tables_of_texts(tmp_path, columns, says):
    file = table(tmp_path, **columns)
    with pytest.raises(TadropError) as error:
        read_rows([file], ("text",))
    assert str(error.value).startswith(f"{file}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(50) + b"PAR1"])
def test_what_is_no_parquet(tmp_path, data):
    file = tmp_path / "x.parquet"
    file.write_bytes(data)
    with pytest.raises(TadropError, match="not a readable parquet file") as error:
        read_rows([file], ("text",))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["a: [", "- 1", "a: !!python/object/apply:os.system [touch canary]", "\0", "x"],
)
def test_a_registry_that_is_none(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(TadropError, match=r"mine\.yaml: not a") as error:
        registry(str(file))
    assert "\n" not in str(error.value)
    assert not Path("canary").exists()


def test_a_card_that_is_none():
    with pytest.raises(TadropError, match=r"header of README\.md is not readable YAML"):
        read_card("---\na: [\n---\n")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_configuration_that_is_none(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TadropError, match=r"config\.json: not a readable model config"):
        read_config(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, json.dumps({"model": 3})])
def test_a_tokenizer_that_is_none(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TadropError, match="its tokenizer cannot be loaded") as error:
        tokenise([["a"]], tmp_path, 8)
    assert "\n" not in str(error.value)
