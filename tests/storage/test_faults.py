"""A folder that is replaced is never lost: faults between every two system calls.

After each fault the folder under the name is the old one or the new one, whole, at the
latest once the same command has started again; then that command ends as it would have,
and nothing else is left.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tadrop.errors import TadropError
from tadrop.storage import folders
from tadrop.storage.atomic import hidden
from tadrop.storage.files import write_text
from tests.storage import faults

ROOT = Path(__file__).parents[2]


def export(out, content):
    """What an export does with its folder."""
    with folders.staged(out, overwrite=True) as folder:
        (folder / "weights").write_text(content * 100)
        (folder / "task").mkdir()
        (folder / "task" / "weights").write_text(content)
        (folder / "tadrop.json").write_text(json.dumps({"kind": content}))


def seen(out):
    """The content of a whole folder; None where there is none; fails for a part of one."""
    if not out.exists():
        return None
    kind = json.loads((out / "tadrop.json").read_text())["kind"]
    assert (out / "weights").read_text() == kind * 100
    assert (out / "task" / "weights").read_text() == kind
    assert len(list(out.iterdir())) == 3
    return kind


def check_after(out, before):
    """Holds what must hold after a fault, whatever it was."""
    allowed = {before, "new"} | ({None} if before else set())
    assert seen(out) in allowed
    folders.recover(out)
    assert seen(out) in {before, "new"}
    export(out, "new")
    assert seen(out) == "new"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("before", ["old", None])
@pytest.mark.parametrize(
    ("fault", "lasting"),
    [
        (faults.disk_error, False),
        (faults.disk_error, True),
        (faults.disk_full, True),
        (faults.interrupted, False),
    ],
)
def test_a_fault_between_any_two_calls(tmp_path, before, fault, lasting):
    def prepared(number):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        if before:
            export(out, before)
        return out

    out = prepared(0)
    calls = faults.counted(lambda: export(out, "new"))
    assert calls > 30
    for number in range(1, calls + 1):
        out = prepared(number)
        refused = suppress(TadropError, OSError, KeyboardInterrupt)
        with refused, faults.injected(number, fault, lasting):
            export(out, "new")
        check_after(out, before)


KILLER = """
import os, sys
from pathlib import Path
from tests.storage import faults
from tests.storage.test_faults import check_after, export

folder, before = Path(sys.argv[1]), sys.argv[2] or None
number, kills = 0, 0
while True:
    number += 1
    out = folder / str(number) / "out"
    out.parent.mkdir(parents=True)
    if before:
        export(out, before)
    child = os.fork()
    if not child:
        with faults.injected(number, faults.killed):
            export(out, "new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    kills += os.WIFSIGNALED(status)
    check_after(out, before)
    if os.WIFEXITED(status) and not os.WEXITSTATUS(status) and number > 40:
        break
print(kills)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("before", ["old", ""])
def test_a_kill_between_any_two_calls(tmp_path, before):
    words = [sys.executable, "-c", KILLER, str(tmp_path), before]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_leftovers_of_others_stay(tmp_path):
    names = (".outer.new", ".out.new.1234", ".output.ab.new.1", "out.former-1", ".out")
    for name in names:
        (tmp_path / name).mkdir()
    export(tmp_path / "out", "old")
    export(tmp_path / "out", "new")
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {*names, "out"}


def test_what_is_taken_for_a_leftover_before_it_is_locked_is_not_used(
    tmp_path, monkeypatch
):
    made, real = [], hidden._lock

    def lock(handle):
        made.append(handle)
        return False if len(made) == 1 else real(handle)

    monkeypatch.setattr(hidden, "_lock", lock)
    with hidden.new_file(tmp_path / "x.json", hidden.PART) as file:
        assert len(made) == 2
        assert file.exists()


HOLDER = """
import sys, time
from pathlib import Path
from tadrop.storage import folders
with folders.staged(Path(sys.argv[1]), True) as folder:
    (folder / "part").write_text("x")
    print(folder, flush=True)
    time.sleep(100)
"""


def test_what_a_living_process_writes_is_no_leftover_and_a_dead_one_s_is(tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        folder = Path(other.stdout.readline().strip())
        export(out, "old")
        assert (folder / "part").exists()
        other.kill()
    export(out, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_of_a_killed_writer_go_with_the_next_one(tmp_path):
    killed = """
import sys
from pathlib import Path
from tadrop.storage.files import write_atomically
from tests.storage import faults
write_atomically(Path(sys.argv[1]), lambda path: faults.killed())
"""
    path = tmp_path / "record.json"
    subprocess.run([sys.executable, "-c", killed, str(path)], cwd=ROOT, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_text(tmp_path / "other.json", "x")
    assert len(list(tmp_path.iterdir())) == 2
    write_text(path, "x")
    assert sorted(os.listdir(tmp_path)) == ["other.json", "record.json"]


@pytest.mark.parametrize("fault", [faults.disk_error, faults.interrupted])
def test_a_file_is_the_old_one_or_the_new_one(tmp_path, fault):
    path = tmp_path / "record.json"
    write_text(path, "old")
    calls = faults.counted(lambda: write_text(path, "old"))
    for number in range(1, calls + 1):
        write_text(path, "old")
        refused = suppress(TadropError, OSError, KeyboardInterrupt)
        with refused, faults.injected(number, fault):
            write_text(path, "new")
        assert path.read_text() in ("old", "new")
        write_text(path, "new")
        assert os.listdir(tmp_path) == ["record.json"]
