"""The audit of the locks, with a stand-in for pip-audit; and the oldest versions."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiments.supply import audit
from experiments.supply.locks import locks, pins
from experiments.supply.oldest import differing

ROOT = Path(__file__).parents[2]
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1", "3.0"]}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
STAND_IN = """
import json, sys
lock = open(sys.argv[sys.argv.index("-r") + 1]).read()
if "away" in lock:
    sys.exit("ERROR: no route to host")
print(json.dumps({"dependencies": %s}))
"""


def run(folder, dependencies):
    """`make audit` in a folder, with a pip-audit that answers so."""
    (folder / "pip_audit.py").write_text(STAND_IN % json.dumps(dependencies))
    return subprocess.run(
        [sys.executable, "-m", "experiments.supply.audit"],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def lock(folder, text="good==1.0\n"):
    (folder / "requirements.lock").write_text(text)


def test_locks_without_advisories_pass(tmp_path):
    lock(tmp_path)
    done = run(tmp_path, [GOOD])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no advisory names a version of 1 locks\n"


def test_an_advisory_is_told_with_its_cure(tmp_path):
    lock(tmp_path)
    done = run(tmp_path, [GOOD, BAD])
    assert done.returncode == 1
    assert (
        done.stderr == "error: requirements.lock: bad 2.0: CVE-1, cured in 2.1, 3.0\n"
    )


def test_without_a_network_one_line_says_so(tmp_path):
    lock(tmp_path, "away==1.0\n")
    done = run(tmp_path, [])
    assert done.returncode == 1
    assert done.stderr == (
        "error: requirements.lock: needs the network: no advisories came "
        "(ERROR: no route to host)\n"
    )


def test_pins_that_nobody_looked_up_are_no_success():
    assert audit.faults([UNKNOWN]) == ["needs the network: no advisories came"]
    assert audit.faults([GOOD, UNKNOWN]) == ["unknown: was not looked up"]
    assert audit.faults([]) == ["it pins nothing"]


OLDEST = """
annotated==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
same==2.0 \\
    --hash=sha256:bb
"""


def test_the_oldest_versions_are_those_that_differ():
    written = differing(OLDEST, "annotated==1.5\nsame==2.0\n")
    assert pins(written) == {"annotated": {"1.0"}}
    assert written.count("--hash") == 2


def bounds():
    """The lower bound of every main dependency, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lower = {}
    for line in project["dependencies"]:
        name, bound = re.match(r"([\w.-]+)>=([\w.]+)", line).groups()
        lower[name.lower().replace("_", "-")] = bound
    return lower


def release(version, count):
    """The first numbers of a version."""
    return version.split(".")[:count]


# pandas 2.2.0 takes no numpy 2; torch's own libraries ask for a later typing-extensions.
LATER = {"torch", "torchvision", "typing-extensions"}


@pytest.mark.parametrize("name", sorted(bounds().keys() - LATER))
def test_the_oldest_lock_has_the_lower_bound(name):
    oldest = pins((ROOT / "requirements-oldest.lock").read_text())
    newest = pins((ROOT / "requirements.lock").read_text())
    [version] = oldest.get(name) or newest[name]
    bound = bounds()[name]
    parts = min(2, len(bound.split(".")))
    assert release(version, parts) == release(bound, parts)


def test_every_lock_is_audited():
    names = [path.name for path in locks(ROOT)]
    assert "requirements.lock" in names
    assert len(names) == len([*ROOT.glob("*.lock")])
