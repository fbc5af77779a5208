"""Whatever a file of 1 MB says, it is read or refused in 5 s and 256 MB over its size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.torch_files.bombs import BOMBS

ROOT = Path(__file__).parents[3]
SECONDS, ROOM = 5, 256 << 20  # of processor time; bytes
# Every file is read in a child of its own, whose peak is counted from its birth on.
MEASURE = """
import json, os, sys, time
from pathlib import Path
from tadrop.app.verbs.convert import convert
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from safetensors.torch import save_file
import torch._utils

def measure(path):
    Path("/proc/self/clear_refs").write_text("5")
    before, start, said = current(), time.process_time(), ""
    try:
        open_checkpoint(path)
        convert(path, path.with_suffix(".safetensors"))
    except TadropError as error:
        said = str(error)
    return time.process_time() - start, high() - before, said

def current():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def high():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10

for path in map(Path, sys.argv[1:]):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps([path.name, *measure(path)]).encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    line = os.read(read, 1 << 16).decode()
    print(line or json.dumps([path.name, 1e9, 1 << 60, f"died: {status}"]), flush=True)
    os.close(read)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as on Linux")
def test_bombs_cost_little(tmp_path):
    files = []
    for name, make in BOMBS.items():
        file = tmp_path / f"{name}.pt"
        file.write_bytes(make())
        assert file.stat().st_size <= 1 << 20, name
        files.append(str(file))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(files), done.stderr
    costly = []
    for name, seconds, grown, said in results:
        size = (tmp_path / name).stat().st_size
        if seconds > SECONDS or grown > size + ROOM:
            costly.append((name, seconds, grown >> 20, said))
        assert "\n" not in said
        assert not said or name in said
    assert costly == []
