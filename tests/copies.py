"""Copies of the repository that a test may change."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("baselines", "conf", "tadrop")
LINKED = ("tadrop/assets", "tests")  # large, or not to be changed


def copy_repository(folder: Path) -> Path:
    """The program and its configuration in a folder, the rest linked."""
    ignore = shutil.ignore_patterns("__pycache__", "assets")
    for part in CODE:
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    for part in LINKED:
        (folder / part).symlink_to(ROOT / part)
    shutil.copy(ROOT / "run.py", folder)
    return folder


def python(folder: Path, *words: str) -> str:
    """What a Python that runs in a copy prints; it imports the copy's modules."""
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def move_module(folder: Path, old: str, new: str) -> None:
    """Moves a module of a copy, and follows it in every import and YAML."""
    source, target = folder / old, folder / new
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    old_room, old_name = _dotted(old)
    new_room, new_name = _dotted(new)
    imported = rf"from (?:{re.escape(old_room)}|\.) import {old_name}\b"
    named = rf"\b{re.escape(old_room)}\.{old_name}\b"
    _replace(folder, imported, f"from {new_room} import {new_name} as {old_name}")
    _replace(folder, named, f"{new_room}.{new_name}")


def rename(folder: Path, old: str, new: str) -> None:
    """Renames a function or class of a copy wherever its name stands."""
    _replace(folder, rf"\b{old}\b", new)


def _dotted(path: str) -> tuple[str, str]:
    """The room and the name of a module."""
    *rooms, name = Path(path).with_suffix("").parts
    return ".".join(rooms), name


def _replace(folder: Path, pattern: str, replacement: str) -> None:
    """Replaces a pattern in the code and the configuration of a copy."""
    for part in CODE:
        for path in (folder / part).rglob("*.*"):
            if path.suffix in (".py", ".yaml"):
                text = path.read_text(encoding="utf-8")
                changed = re.sub(pattern, replacement, text)
                if changed != text:
                    path.write_text(changed, encoding="utf-8")
