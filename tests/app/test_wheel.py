"""An installed tadrop, with no checkout near: one name, one command, the main job."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("baselines", "conf", "results/published", "tadrop")
FILES = ("LICENSE", "README.md", "pyproject.toml", "setup.py")
SMALL = ("limit=20", "tasks.names=[hebrew,braille]")

FORMULAS = """
import pkgutil, importlib, tadrop.baselines
for module in pkgutil.iter_modules(tadrop.baselines.__path__):
    importlib.import_module(f"tadrop.baselines.{module.name}")
    print(module.name)
"""
LIBRARY = """
import os
import numpy as np
from safetensors.numpy import load_file, save_file
import tadrop
random = np.random.default_rng(0)
base = {"a.weight": random.standard_normal((8, 6)).astype("f4")}
for name in ("base", "x", "y"):
    shift = 0 if name == "base" else random.standard_normal((8, 6)).astype("f4")
    os.makedirs(name)
    save_file({"a.weight": base["a.weight"] + shift}, f"{name}/model.safetensors")
tadrop.merge_checkpoints("base", ["x", "y"], "out", merge="ties", tadrop=True)
print(*load_file("out/model.safetensors"))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy, so that nothing is built in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SOURCES:
        ignored = ignore_patterns("__pycache__", "*.egg-info")
        copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in FILES:
        (source / name).write_bytes((ROOT / name).read_bytes())
    words = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(target))
    pip("wheel", *words, str(source))
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheel):
    """A new environment with the wheel; dependencies come from the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", str(wheel))
    return folder


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A folder with no checkout near."""
    return tmp_path_factory.mktemp("far")


def pip(*words):
    command = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def said(environment, far, program, *words):
    """What a program of the environment prints."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [environment / "bin" / program, *words],
        cwd=far,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_name_is_installed(environment):
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    folders = {path.name for path in site.iterdir() if path.is_dir()}
    names = {name for name in folders if not name.endswith(".dist-info")}
    assert names - {"__pycache__"} == {"tadrop"}
    assert (site / "tadrop" / "py.typed").exists()
    assert (site / "tadrop" / "conf" / "config.yaml").exists()
    assert not list(site.rglob("tadrop/**/test_*.py"))


def test_importing_is_light(environment, far):
    code = "import sys, tadrop; print('torch' in sys.modules, tadrop.__file__)"
    heavy, file = said(environment, far, "python", "-c", code).split()
    assert heavy == "False"
    assert file.startswith(str(environment))


def test_every_formula_can_be_imported(environment, far):
    names = said(environment, far, "python", "-c", FORMULAS).split()
    assert {path.stem for path in ROOT.glob("baselines/[!_]*.py")} == set(names)


def test_help_is_there(environment, far):
    assert "run.py" in said(environment, far, "tadrop", "--help")
    assert "emr" in said(environment, far, "tadrop", "run", "--help")


def test_the_main_job_leaves_its_records_in_runs(environment, far):
    table = said(environment, far, "tadrop", "run", "merge=emr", "tadrop=on", *SMALL)
    assert "EMR" in table
    assert len(list((far / "runs" / "records").glob("*.json"))) == 3
    assert not (far / "results").exists()


def test_published_numbers_travel(environment, far):
    code = (
        "from tadrop.results import published as p;"
        "print(p.FOLDER, len(p.about(p.read(p.FOLDER), 'vit_b32', 'vision8')))"
    )
    folder, count = said(environment, far, "python", "-c", code).split()
    assert folder.startswith(str(environment))
    assert int(count) > 5


def test_a_row_whose_formulas_import_one_another(environment, far):
    assert "TALL-mask" in said(
        environment, far, "tadrop", "run", "merge=tall_mask_ties", "tadrop=off", *SMALL
    )


def test_checkpoints_are_merged(environment, far):
    assert said(environment, far, "python", "-c", LIBRARY) == "a.weight\n"
