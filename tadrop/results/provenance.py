"""What made a record beside its configuration: code, library versions and the machine."""

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


@lru_cache
def provenance() -> dict[str, Any]:
    """Code version, library versions and machine."""
    here = Path(__file__).parent
    code = {
        "version": version_of("tadrop"),
        "commit": _git(here, "rev-parse", "HEAD"),
        "dirty": _dirty(here),
    }
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


def _git(folder: Path, *words: str) -> str | None:
    """What git answers in a folder; None where it cannot."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _dirty(folder: Path) -> bool | None:
    """Whether code or configuration differ from the commit; None outside a checkout."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return None
    changes = _git(Path(top), "status", "--porcelain", "--", "*.py", "*.yaml")
    return None if changes is None else bool(changes)


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
