"""Where the suite's own files lie, and where what a user runs is kept.

In a checkout configuration and formulas are folders beside the package. Installed they
lie in it (setup.py), so that no other name is taken.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parent
INSTALLED = (PACKAGE / "conf").is_dir()
CONF = PACKAGE / "conf" if INSTALLED else REPOSITORY / "conf"
RECORDS = REPOSITORY / "results" / "records"  # those that come with the project
RUNS = Path("runs")  # in the current folder: what a user runs, as in conf/config.yaml

FORMULAS = "baselines"  # what the YAML of a row calls the package of formulas


def command() -> str:
    """How `tadrop` is called here, as somebody would type it."""
    script = Path(sys.executable).with_name("tadrop")
    if not script.exists():
        return f"{sys.executable} -m tadrop"
    found = shutil.which("tadrop")
    here = Path(os.path.abspath(""))
    if found is not None and Path(found) == script:
        return "tadrop"
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def importable(target: str) -> str:
    """The dotted name under which a class or function of the YAML can be imported."""
    package, _, rest = target.partition(".")
    if package != FORMULAS:
        return target
    if not INSTALLED:
        _reach_checkout()
        return target
    module = rest.split(".")[0]
    inside = f"{PACKAGE.name}.{FORMULAS}"
    ours = find_spec(f"{inside}.{module}") is not None
    return f"{inside}.{rest}" if ours else target


def _reach_checkout() -> None:
    """Makes the checkout's formulas importable from any folder."""
    folder = str(REPOSITORY)
    if folder not in sys.path:
        sys.path.append(folder)
