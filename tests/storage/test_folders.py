"""A folder is there whole or not at all, and only what the suite wrote is replaced."""

import pytest

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
    with staged(out, overwrite=True) as folder:
        (folder / "new").write_text("x")
    assert names(out) == ["new"]
