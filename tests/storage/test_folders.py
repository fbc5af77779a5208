"""A folder is there whole or not at all, and only what the suite wrote is replaced."""

import shutil

import pytest

from tadrop.storage.atomic.guards import check_room
from tadrop.storage.folders import NOTE, staged
from tadrop.types import TadropError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_ends_well_leaves_the_folder_alone(tmp_path):
    with staged(tmp_path / "parent" / "out", overwrite=False) as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "parent" / "out").exists()
    assert names(tmp_path / "parent") == ["out"]
    assert names(tmp_path / "parent" / "out") == ["file"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_nothing(tmp_path, fault):
    def begin(folder):
        (folder / "file").write_text("x")
        raise fault

    with pytest.raises(fault), staged(tmp_path / "out", overwrite=False) as folder:
        begin(folder)
    assert names(tmp_path) == []


def test_what_the_disk_refuses_is_one_line(tmp_path):
    with (
        pytest.raises(TadropError, match=r"out: could not be written \(no\); nothing"),
        staged(tmp_path / "out", overwrite=False),
    ):
        raise OSError(5, "no")
    assert names(tmp_path) == []


def test_only_what_the_suite_wrote_is_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with staged(out, overwrite=False) as folder:  # an empty folder is free
        (folder / "old").write_text("x")
    with pytest.raises(TadropError, match="is already there"), staged(out, False):
        pass
    with pytest.raises(TadropError, match=f"has no {NOTE}"), staged(out, True):
        pass
    (out / NOTE).write_text("{}")
    with pytest.raises(TadropError, match="does not list the files"), staged(out, True):
        pass
    (out / "old").unlink()
    (out / NOTE).unlink()
    for name in ("old", "new"):
        with staged(out, overwrite=True) as folder:
            (folder / NOTE).write_text("{}")
            (folder / name).write_text("x")
    assert names(out) == ["new", NOTE]


@pytest.fixture
def out(tmp_path):
    with staged(tmp_path / "out", overwrite=False) as folder:
        (folder / NOTE).write_text("{}")
        (folder / "weights").write_text("old")
    return tmp_path / "out"


def refused(out, *inputs):
    """How a replacement is refused; nothing is touched then."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(TadropError) as error, staged(out, True, inputs):
        pytest.fail("it was begun")
    assert sorted(out.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_note_of_the_user_is_never_deleted(out):
    (out / "notes.txt").write_text("precious")
    assert "notes.txt: this suite did not write it" in refused(out)


def test_a_file_that_the_user_changed_is_never_deleted(out):
    (out / "weights").write_text("mine")
    assert "weights: was changed since this suite wrote it" in refused(out)


def test_a_link_in_a_folder_is_the_user_s(out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    assert "link: this suite did not write it" in refused(out)


def test_a_note_that_comes_while_it_is_written_is_kept(out):
    def write():
        with staged(out, True) as folder:
            (folder / "weights").write_text("new")
            (out / "notes.txt").write_text("precious")

    with pytest.raises(TadropError, match=r"notes\.txt: this suite did not write it"):
        write()
    assert (out / "notes.txt").read_text() == "precious"
    assert (out / "weights").read_text() == "old"
    assert names(out.parent) == ["out"]


def test_inputs_are_never_touched(out, tmp_path):
    (out / "inner").mkdir()
    (out / "inner" / "x.safetensors").write_text("x")
    assert f"out: is {out}, which is read" in refused(out, out)
    inner = out / "inner" / "x.safetensors"
    assert f"contains {inner}, which is read" in refused(out, inner)
    base = tmp_path / "base"
    base.mkdir()
    assert f"out: lies in {base}, which" in refused(base / "out", base)
    (tmp_path / "alias").symlink_to(base)
    assert "lies in" in refused(tmp_path / "alias" / "out", base)
    (base / "x.safetensors").write_text("x")
    with staged(base / "out", True, [base / "x.safetensors"]):  # a file beside it
        pass


def test_a_link_in_the_place_of_a_folder_is_refused(out, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(out)
    assert f"link: is a symbolic link; give the folder that it leads to, {out}" in (
        refused(link)
    )
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    assert "is a symbolic link" in refused(dangling)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file/out", "Not a directory"),
        ("file/a/b", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("n" * 300 + "/out", "File name too long"),
        ("d/" * 3000 + "out", "File name too long"),
        ("/proc/out", "cannot be written"),
        ("/proc/a/b", "cannot be written"),
        ("..", "give the name of the folder"),
        ("file", "is already there"),
    ],
)
def test_places_where_nothing_can_be_written(tmp_path, place, says):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TadropError) as error, staged(tmp_path / place, False):
        pytest.fail("it was begun")
    assert says in str(error.value)
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "name", ["n" * 255, "ä" * 127, "a.b.c", "-rf", "x y", "\u202e"]
)
def test_names_that_are_odd_and_fit(tmp_path, name):
    for _ in range(2):
        with staged(tmp_path / name, True) as folder:
            (folder / NOTE).write_text("{}")
    assert names(tmp_path) == [name]


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_room(tmp_path, 900_000)
    with pytest.raises(TadropError, match=r"3\.00 GB are to be .* 0\.00 GB are free"):
        check_room(tmp_path, 3_000_000_000)
