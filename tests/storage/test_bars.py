"""Downloads tell bars of their bytes, whatever the hub library does with them."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from tadrop.app import console
from tadrop.storage import bars


class Watched(bars.Silent):
    """Bars that keep what they are told."""

    def __init__(self):
        self.told = []

    def transfer(self, name):
        return lambda count, total: self.told.append((name, count, total))


@pytest.fixture
def watched():
    seen = Watched()
    token = bars.current.set(seen)
    yield seen
    bars.current.reset(token)


def test_bytes_are_told_and_files_are_not(watched):
    """The library makes a bar for bytes that come, one for those written, one a file."""
    kind = bars.report("org/name")
    options = {"unit": "B", "unit_scale": True, "initial": 0}
    coming = kind(total=30, desc="a", **options)
    written = kind(total=30, desc="b", **options)
    with coming, written:
        coming.update(10)
        written.update(4)
        coming.update(20)
        written.update(26)
    for _ in kind(range(3), total=3, desc="Fetching 3 files"):
        pass
    assert [count for _, count, _ in watched.told] == [10, 10, 30, 30]
    assert {(name, total) for name, _, total in watched.told} == {("org/name", 30)}


def test_nothing_is_printed_where_nobody_looks(capfd):
    with bars.report("x")(total=5, unit="B") as bar:
        bar.update(5)
    bars.bar("head", 3)()
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_a_download_has_one_line(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=file, width=200))
    with console.stages("a run"):
        with bars.report("org/name/model.safetensors")(
            total=605_000_000, unit="B"
        ) as bar:
            for _ in range(5):
                bar.update(121_000_000)
        with bars.report("org/name/config.json")(total=4_000, unit="B") as bar:
            bar.update(4_000)
    lines = file.getvalue().splitlines()
    assert lines == [
        "running a run",
        "downloading org/name/model.safetensors (605 MB)",
    ]
    assert bars.current.get() is bars.SILENT


def test_in_a_terminal_a_download_has_a_bar_that_goes_away():
    with RichProgress(console=Console(file=io.StringIO())) as drawn:
        tell = console.Progress(drawn).transfer("org/name")
        tell(0, 12_000_000)
        tell(5_000_000, 12_000_000)
        (task,) = drawn.tasks
        assert (task.description, task.completed, task.total) == (
            "download org/name (MB)",
            5,
            12,
        )
        assert task.visible
        tell(12_000_000, 12_000_000)
        assert not task.visible
