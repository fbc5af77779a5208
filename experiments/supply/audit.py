"""Asks pip-audit whether an advisory names a version that a lock pins.

    make audit

It needs the network: no advisories come with the project. Every pin must have been
looked up: pip-audit itself calls it a success when the service knew none of them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.supply.locks import locks

COMMAND = (
    "--require-hashes",
    "--disable-pip",
    "--format=json",
    "--progress-spinner=off",
)
UNREACHABLE = "needs the network: no advisories came"


def audit(lock: Path) -> list[str]:
    """What is wrong with a lock, in lines; none where every pin was found harmless."""
    words = [sys.executable, "-m", "pip_audit", *COMMAND, "-r", str(lock)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        return [f"{lock.name}: {UNREACHABLE} ({said[-1]})"]
    return [f"{lock.name}: {line}" for line in faults(report["dependencies"])]


def faults(dependencies: Sequence[dict[str, Any]]) -> list[str]:
    """What pip-audit's report says against the pins, a line each."""
    lines: list[str] = []
    skipped: list[str] = []
    for one in dependencies:
        if "skip_reason" in one:
            skipped.append(one["name"])
        for advisory in one.get("vulns", ()):
            cures = ", ".join(advisory["fix_versions"]) or "nothing yet"
            name = f"{one['name']} {one['version']}"
            lines.append(f"{name}: {advisory['id']}, cured in {cures}")
    if skipped and len(skipped) == len(dependencies):
        return [UNREACHABLE]
    lines += [f"{name}: was not looked up" for name in skipped]
    return lines or ([] if dependencies else ["it pins nothing"])


def main() -> None:
    """Audits every lock of the current folder."""
    told: list[str] = []
    for lock in locks(Path()):
        told += audit(lock)
    if told:
        sys.exit("\n".join(f"error: {line}" for line in told))
    print(f"no advisory names a version of {len(locks(Path()))} locks")


if __name__ == "__main__":
    main()
