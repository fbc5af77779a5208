"""Exports that fail leave nothing behind, and what would be wrong is refused."""

import errno
import os

import pytest
from torch import tensor

from tadrop import merge_checkpoints
from tadrop.types import TadropError
from tests.checkpoints import family, save


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("row", ["average", "emr"])
def test_a_failure_leaves_nothing_behind(tmp_path, fault, row, monkeypatch):
    base, experts, *_ = family(tmp_path)
    before, calls, write = listing(tmp_path), [], os.pwrite

    def fails(handle, data, at):
        calls.append(at)
        if len(calls) == 6:
            raise fault
        return write(handle, data, at)

    monkeypatch.setattr("os.pwrite", fails)
    with pytest.raises(
        KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else TadropError
    ):
        merge_checkpoints(base, experts, tmp_path / "out", row, expand=True)
    assert listing(tmp_path) == before


def test_an_occupied_folder_is_not_touched(tmp_path):
    base, experts, *_ = family(tmp_path)
    merge_checkpoints(base, experts, tmp_path / "out")
    with pytest.raises(TadropError, match=r"out: is already there; .*overwrite=true"):
        merge_checkpoints(base, experts, tmp_path / "out")
    merge_checkpoints(base, experts, tmp_path / "out", "emr", overwrite=True)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(TadropError, match=r"base: is .*, which is read for this merge"):
        merge_checkpoints(base, experts, base, overwrite=True)


def test_float16_overflow_is_an_error(tmp_path):
    for name, value in (("base", 0.0), ("a", 60_000.0), ("b", 60_000.0)):
        save(tmp_path / name, {"w": tensor([value, 1.0])})
    with pytest.raises(TadropError, match=r"'w' does not fit float16"):
        merge_checkpoints(
            tmp_path / "base",
            [tmp_path / "a", tmp_path / "b"],
            tmp_path / "out",
            scale=1.0,
            dtype="fp16",
        )


@pytest.mark.parametrize("row", ["fisher", "surgery", "nps"])
def test_a_row_that_looks_at_data_or_the_model_is_not_for_checkpoints_alone(
    tmp_path, row
):
    base, experts, *_ = family(tmp_path)
    with pytest.raises(
        TadropError,
        match=f"merge={row} looks at data or at the model: it needs evaluate=true",
    ):
        merge_checkpoints(base, experts, tmp_path / "out", merge=row)
    assert not (tmp_path / "out").exists()
