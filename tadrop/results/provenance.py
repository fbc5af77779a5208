"""What made a record beside its configuration: code,
library versions and the machine.
"""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch",
    "numpy",
    "safetensors",
    "hydra-core",
    "pillow",
    "matplotlib",
    "scikit-learn",
)


HERE = Path(__file__).resolve()
CHECKOUT = HERE.parents[2]  # where the repository's top is, unless this is installed


@lru_cache
def provenance() -> dict[str, Any]:
    """Code version, library versions and machine."""
    code = {"version": version_of("tadrop"), **checkout(CHECKOUT, HERE)}
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        versions[name] = version_of(name)
    machine = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": _cores(),
    }
    return {"code": code, "versions": versions, "machine": machine}


def version_of(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def checkout(top: Path, file: Path) -> dict[str, Any]:
    """The commit of our own repository, and whether code or configuration differ from it.

    top: where the repository would lie; file: one of its files
    Both are None where that is no checkout. A repository in whose folder tadrop is
    installed, or from which a command is run, is not ours.
    """
    commit = dirty = None
    if _git(top, "rev-parse", "--show-prefix") == "" and _is_tracked(top, file):
        commit = _git(top, "rev-parse", "HEAD")
        changes = _git(top, "status", "--porcelain", "--", "*.py", "*.yaml")
        dirty = None if changes is None else bool(changes)
    return {"commit": commit, "dirty": dirty}


def _is_tracked(top: Path, file: Path) -> bool:
    """Whether a file belongs to the repository that lies there."""
    return _git(top, "ls-files", "--error-unmatch", str(file)) is not None


def _git(folder: Path, *words: str) -> str | None:
    """What git answers in a folder; None where it cannot.

    Variables that name another repository, as a hook of git has them, do not count.
    """
    ours = {name: os.environ[name] for name in os.environ if name[:4] != "GIT_"}
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env=ours,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    """The processor's name where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _cores() -> int:
    """The cores that this process may use, where the system tells it."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        return os.cpu_count() or 1
