"""What commands write says nothing of the machine that wrote it: no paths, no names of
users or hosts, nothing of the environment.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.checkpoints import family

ROOT = Path(__file__).parents[2]
USER, HOST, SECRET = "zaphodbeeble", "heartofgold77", "s3cr3tvalue99"
MARKS = (USER, HOST, SECRET)


def python(folder, *words):
    """A command with a user's, a host's and other telling values in its environment."""
    named = dict.fromkeys(("USER", "LOGNAME", "USERNAME", "LNAME"), USER)
    told = {"HOSTNAME": HOST, "HOST": HOST, "MY_TOKEN": SECRET, "HF_TOKEN": SECRET}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | named | told | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done


def telling(data, folder):
    """The words in some bytes that tell of this machine."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    words = [*MARKS, str(folder), str(Path.home()), sys.prefix, os.uname().nodename]
    return [word for word in words if len(word) > 5 and word.encode() in data]


def scanned(folder, *places):
    """(file, word) of everything that tells, in what was written to these places."""
    found, count = [], 0
    for place in places:
        paths = [place] if place.is_file() else sorted(place.rglob("*"))
        for path in filter(Path.is_file, paths):
            count += 1
            for word in telling(path.read_bytes(), folder):
                found.append((path.name, word))
    assert count > 0
    return found


@pytest.fixture
def folder(tmp_path):
    """A folder whose path has the user's name in it."""
    folder = tmp_path / USER
    folder.mkdir()
    return folder


def test_the_scan_sees_what_tells(folder):
    (folder / "x.json").write_text(f'{{"path": "{folder}"}}')
    (folder / "y.gz").write_bytes(gzip.compress(SECRET.encode()))
    assert scanned(folder, folder / "x.json", folder / "y.gz") != []
    assert {name for name, _ in scanned(folder, folder)} == {"x.json", "y.gz"}


@pytest.mark.parametrize("row", ["average", "emr"])
def test_exports(folder, row):
    base, experts, *_ = family(folder, tasks=2)
    listed = ",".join(map(str, experts))
    python(
        folder, "-m", "tadrop", "run", "model=local", f"model.base={base}",
        f"model.experts=[{listed}]", f"merge={row}", "evaluate=false",
        f"export.dir={folder}/out", "export.expand=true",
    )  # fmt: skip
    assert scanned(folder, folder / "out") == []
    note = json.loads((folder / "out" / "tadrop.json").read_text())
    assert list(note["checkpoints"]["base"]) == ["model.safetensors"]


def test_converted_files(folder):
    torch.save({"w": torch.ones(3)}, folder / "x.pt")
    python(folder, "-m", "tadrop", "convert", str(folder / "x.pt"))
    written = (folder / "x.safetensors", folder / "x.json")
    assert scanned(folder, *written) == []


@pytest.mark.slow
def test_records_tables_and_a_report(folder):
    small = ("tasks.names=[hebrew,braille]", "limit=40", "merge=emr", "tadrop=on")
    python(folder, "-m", "tadrop", "run", *small, f"paths.cache={folder}/cache")
    records = folder / "runs" / "records"
    assert scanned(folder, records) == []
    python(folder, "-m", "tadrop", "records", "export", str(folder / "all.csv"))
    assert scanned(folder, folder / "all.csv") == []
    shipped = str(ROOT / "results" / "records")
    out = folder / "tables"
    python(
        folder, "-m", "tadrop", "table", "demo", "--records", shipped, "--out", str(out)
    )
    assert scanned(folder, out) == []
    report = folder / "report"
    python(folder, "-m", "tadrop", "report", "--records", shipped, "--out", str(report))
    assert scanned(folder, report) == []


def test_what_is_committed():
    texts = (".json", ".md", ".csv", ".tex", ".svg", ".html", ".yaml")
    home = str(Path.home())
    paths = [*ROOT.glob("results/**/*"), *ROOT.glob("tadrop/assets/**/*")]
    for path in paths:
        if path.suffix in texts:
            text = path.read_text(encoding="utf-8")
            assert "/home/" not in text, path
            assert "/Users/" not in text, path
            assert len(home) < 6 or home not in text, path


def test_pictures_have_no_notes():
    for path in ROOT.glob("results/*.png"):
        with Image.open(path) as image:
            assert set(image.info) <= {"dpi", "Software"}, path
