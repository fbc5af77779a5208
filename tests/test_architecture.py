"""The house holds: imports point one way, nothing asks for a method's name, nothing
heavy is imported early.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    [
        *ROOT.glob("tadrop/**/*.py"),
        *ROOT.glob("baselines/*.py"),
        *ROOT.glob("experiments/**/*.py"),
        *ROOT.glob("docs/generate/*.py"),
        ROOT / "run.py",
    ]
)
# low to high: a module imports from lower rooms, or from its own where that makes no
# circle
ROOMS = (
    "tadrop.errors",
    "tadrop.types",
    "tadrop.protocols",
    "tadrop.numerics",
    "tadrop.modules",
    "tadrop.storage",
    "tadrop.vectors",
    "tadrop.sparsify",
    "baselines",
    "tadrop.merging",
    "tadrop.checkpoints",
    "tadrop.models",
    "tadrop.tasks",
    "tadrop.evaluation",
    "tadrop.results",
    "tadrop.app",
    "tadrop.__main__",
    "experiments",
    "docs.generate",
)
MOST_FILES, MOST_LINES = 11, 300  # of a room, and of a file
WIDE_ROOMS = {"baselines": "one formula a file"}
HEAVY = {
    "transformers",
    "open_clip",
    "datasets",
    "pandas",
    "matplotlib",
    "sklearn",
    "wandb",
    "mlflow",
    "tensorboard",
    "trackio",
    "torchvision",
    "numba",
}


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def layer(module):
    for height, room in enumerate(ROOMS):
        if module == room or module.startswith(room + "."):
            return height
    return len(ROOMS) if module == "run" else None


@cache
def tree(path):
    """A file's syntax tree, parsed once for all that look at it."""
    return ast.parse(path.read_text())


def imports(path, top_level_only=False):
    """(module, imported) pairs, all of them or only those run on import."""
    nodes = tree(path).body if top_level_only else ast.walk(tree(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            room = ".".join(path.parent.relative_to(ROOT).parts) if node.level else ""
            source = ".".join(filter(None, (room, node.module)))
            yield from (f"{source}.{alias.name}" for alias in node.names)


OURS = {module_of(path): path for path in SOURCES if path.name != "__init__.py"}


@cache
def edges():
    """(importer, imported module) for every import among our modules."""
    found = []
    for module, path in OURS.items():
        for name in imports(path):
            found += [
                (module, c) for c in (name, name.rpartition(".")[0]) if c in OURS
            ][:1]
    return found


def test_every_module_has_a_layer():
    assert [m for m in OURS if layer(m) is None] == []


def test_imports_point_down():
    upward = [(a, b) for a, b in edges() if layer(b) > layer(a)]
    assert upward == []


def test_no_circles():
    graph = {m: {b for a, b in edges() if a == m} for m in OURS}
    done, path = set(), []

    def visit(module):
        assert module not in path, f"circle: {' -> '.join([*path, module])}"
        if module in done:
            return
        path.append(module)
        for imported in sorted(graph[module]):
            visit(imported)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_every_command_of_experiments_can_be_stopped():
    """`python -m tadrop` and run.py call `enter` for theirs."""
    commands = []
    for path in ROOT.glob("experiments/*.py"):
        if "__main__" in path.read_text():
            commands.append(path)
    assert len(commands) > 3
    lacking = [path.name for path in commands if "    enter()" not in path.read_text()]
    assert lacking == []


def test_nothing_imports_experiments():
    importers = set()
    for importer, imported in edges():
        if imported.startswith("experiments."):
            importers.add(importer)
    assert [name for name in importers if not name.startswith("experiments.")] == []


def test_tadrop_never_imports_baselines():
    assert [
        (a, b)
        for a, b in edges()
        if a.startswith("tadrop") and b.startswith("baselines")
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_nothing_heavy_is_imported_on_import(path):
    module = module_of(path)
    # Kernels are imported late: see tadrop/numerics/compiled.py.
    if module.startswith(("experiments", "docs")) or ".kernels." in module:
        return
    found = {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY
    assert not found


def test_no_branch_on_a_methods_name():
    rows = [path.stem for path in (ROOT / "conf/merge").glob("*.yaml")]
    known = {"individual", "pretrained"}  # the reference rows every table starts with
    for path in SOURCES:
        if path.parent.name in ("baselines",):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Compare):
                words = {
                    n.value
                    for n in ast.walk(node)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
                assert not words & (set(rows) - known), (
                    f"{path}: compares with a method's name: {words}"
                )


def test_rooms_are_small():
    rooms = {}
    for path in SOURCES:
        if path.name != "__init__.py" and path.parent != ROOT:
            rooms.setdefault(str(path.parent.relative_to(ROOT)), []).append(path.name)
    crowded = {
        r: len(f)
        for r, f in rooms.items()
        if len(f) > MOST_FILES and r not in WIDE_ROOMS
    }
    assert crowded == {}


def test_files_are_short():
    counts = {module_of(path): path.read_text().count("\n") for path in SOURCES}
    assert {
        module: lines for module, lines in counts.items() if lines > MOST_LINES
    } == {}


def test_every_room_says_what_it_is_for():
    for path in ROOT.glob("tadrop/*/**/__init__.py"):
        room = ast.parse(path.read_text())
        assert ast.get_docstring(room), (
            f"{path}: one sentence says what the room is for"
        )
        assert len(room.body) == 1, (
            f"{path}: a room's __init__ says what it is for and no more"
        )


def test_no_comprehension_inside_another():
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    nested = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, kinds):
                continue
            inner = [n for n in ast.walk(node) if isinstance(n, kinds)]
            if len(inner) > 1 or len(node.generators) > 1:
                nested.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert nested == []


def test_nothing_asks_what_an_object_can_do():
    """Protocols say it: no hasattr, and getattr with a default only where a library is
    asked.
    """
    asked = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "hasattr":
                asked.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert asked == []


def test_no_prints_in_the_library():
    for path in SOURCES:
        if not module_of(path).startswith(("experiments", "tadrop.app")):
            assert not re.search(r"^\s*print\(", path.read_text(), re.M), path


def test_functions_stay_small():
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, (
                    f"{path}: {node.name} is too long"
                )


def test_help_does_not_import_torch():
    code = "import sys, run; assert 'torch' not in sys.modules, 'torch is imported before a run needs it'"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


SHARED = {"launchers": "pyyaml", "docs": "pyyaml", "audit": "requests"}


@pytest.mark.parametrize(("extra", "shared"), SHARED.items())
def test_the_locks_pin_the_same_versions(extra, shared):
    def pins(name):
        found = re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / name).read_text(), re.M)
        return {
            package: {pin for other, pin in found if other == package}
            for package, _ in found
        }

    base, more = pins("requirements.lock"), pins(f"requirements-{extra}.lock")
    both = base.keys() & more.keys()
    assert shared in both
    assert {name: more[name] for name in both} == {name: base[name] for name in both}


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=str)
def test_a_lock_names_no_index(path):
    text = path.read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert not re.search(r"://|--(index|extra-index|find-links)", text)
