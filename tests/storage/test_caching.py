"""A cache that cannot be written costs time and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tadrop.storage.atomic import caching

ROOT = Path(__file__).parents[2]
RUN = ("tasks.names=[hebrew,braille]", "limit=20", "merge=average", "tadrop=off")


def test_a_cached_file_is_where_it_is_or_can_be(tmp_path, monkeypatch):
    there = tmp_path / "cache" / "there.npz"
    assert caching.place(there) == there
    there.write_text("x")
    new = tmp_path / "other" / "new.npz"
    monkeypatch.setattr(caching, "is_writable", lambda folder: False)
    assert caching.place(there) == there
    spare = caching.place(new)
    assert spare.name == "new.npz"
    assert tmp_path not in spare.parents
    assert caching.place(new) == spare
    assert caching.place(tmp_path / "third" / "new.npz") != spare


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nobody writes into /proc")
def test_a_run_goes_on_without_its_cache_and_says_so_once(tmp_path):
    words = [sys.executable, "-m", "tadrop", "run", *RUN]
    made = []
    for cache in ("/proc/cache", str(tmp_path / "cache")):
        folder = tmp_path / str(len(made))
        named = (f"paths.cache={cache}", f"paths.records={folder}")
        done = subprocess.run(
            [*words, *named],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        made.append({path.name for path in folder.iterdir()})
        said = done.stderr.count(f"{cache} cannot be written: what is cached is made")
        assert said == (cache == "/proc/cache")
    assert made[0] == made[1]
    assert not list(tmp_path.glob("tadrop-cache-*"))
