"""Renamed the committed records once, when names of rows took the place of Python paths.

    python -m experiments.rekey_records OLD NEW

Until format 1 a record's settings held the Python path of every function and class, and
its key was the hash of them: no file could be moved. Format 2 (tadrop/results/identity.py)
holds stable names. This script reads the records in the folder OLD and writes them, with
their side files, to the folder NEW. It asserts that nothing but the format, the key and
the spelling of the settings changed, and that no two records fall together. It takes
seconds, and was run once, on 2026-11-30; it stays so that the change can be followed.

Draws at random about a record (the bootstrap of its intervals) are seeded by its key. A
renamed record therefore keeps the key that it was first written under as `first_key`.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tadrop.app.places import CONF
from tadrop.app.terminal.entry import enter
from tadrop.results import identity
from tadrop.results.record import FORMAT, SUFFIXES, text_of
from tadrop.storage.files import write_text

# Words that left the settings: paths of code, and `placement`, which `before` says now.
GONE = {"_target_", "_partial_", "placement", "compiled"}


@cache
def sparsifier_of(row: str) -> str | None:
    """The stable name of a row's own sparsifier, as its YAML chooses it."""
    node = yaml.safe_load((CONF / "merge" / f"{row}.yaml").read_text(encoding="utf-8"))
    for choice in node.get("defaults", ()):
        if not isinstance(choice, str) and "sparsify" in next(iter(choice)):
            return next(iter(choice.values()))
    return None


@cache
def task_sets() -> dict[tuple[str, ...], tuple[str, str]]:
    """(name, family) of every task set, by the names of its tasks and its registry."""
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for path in sorted((CONF / "tasks").glob("[!_]*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        words = (node.get("registry", ""), *node.get("names", ()))
        assert words not in found, f"{path}: the same tasks as {found[words]}"
        found[words] = (node["name"], node["family"])
    return found


def respelled(old: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the words of today, from which settings are taken."""
    config = json.loads(json.dumps(old))
    row = config["merge"]
    if "prepare" in row:
        row["search"] = row.pop("prepare")
    placement = (config["tadrop"] or {}).get("placement", "replace")
    config["before"] = None if placement == "replace" else ["tadrop", "sparsify"]
    if config["tadrop"] is not None:
        del config["tadrop"]["placement"]
    if config["sparsify"] is not None:
        config["sparsify"]["name"] = sparsifier_of(row["name"])
        assert config["sparsify"]["name"], row["name"]
    tasks = config["tasks"]
    words = (tasks.get("registry", ""), *tasks["names"])
    tasks["name"], tasks["family"] = task_sets()[words]
    return config


def renamed(old: Mapping[str, Any]) -> dict[str, Any]:
    """A record under its stable name."""
    settings = identity.settings(respelled(old["config"]))
    assert_same_settings(old["config"], settings)
    new = {
        **old,
        "format": FORMAT,
        "key": identity.key_of(settings),
        "config": settings,
    }
    new["first_key"] = old["key"]
    return new


def leaves(node: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value of a node by the words that lead to it; lists are values."""
    if not isinstance(node, Mapping):
        return {path: node}
    found: dict[tuple[str, ...], Any] = {}
    for word, child in node.items():
        found |= leaves(child, (*path, word))
    return found


def assert_same_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Every value of the old settings stands in the new ones,
    and nothing but names came.
    """
    ours = leaves(new)
    theirs: dict[tuple[str, ...], Any] = {}
    for path, value in leaves(old).items():
        if not GONE & set(path):
            spelled = tuple("search" if word == "prepare" else word for word in path)
            theirs[spelled] = value
    replaced = new["sparsify"] is None
    for path, value in theirs.items():
        if replaced and path[0] == "sparsify":  # TADrop stood in for it
            continue
        assert ours.pop(path) == without_code(value), path
    added = {("before",), ("sparsify", "name"), ("tasks", "name"), ("tasks", "family")}
    if replaced:
        added.add(("sparsify",))
    assert set(ours) <= added, set(ours) - added


def without_code(value: Any) -> Any:
    """A value without the paths of code in lists of nodes."""
    if isinstance(value, list):
        return [without_code(item) for item in value]
    if isinstance(value, Mapping):
        return {word: child for word, child in value.items() if word not in GONE}
    return value


def main(source: Path, target: Path) -> None:
    """Renames every record of one folder into another."""
    target.mkdir(parents=True, exist_ok=True)
    keys: dict[str, str] = {}
    for file in sorted(source.glob("[!.]*.json")):
        old = json.loads(file.read_text(encoding="utf-8"))
        assert old["format"] == 1, file
        new = renamed(old)
        for word in old.keys() - {"format", "key", "config"}:
            assert new[word] == old[word], (file, word)
        assert new["key"] not in keys, (
            f"{file} and {keys.get(new['key'])} fall together"
        )
        keys[new["key"]] = file.stem
        for suffix in SUFFIXES[:-1]:
            side = file.with_suffix("").with_suffix(suffix)
            if side.exists():
                shutil.copyfile(side, target / f"{new['key']}{suffix}")
        write_text(target / f"{new['key']}.json", text_of(new))
    print(f"{len(keys)} records renamed, nothing else changed")


if __name__ == "__main__":
    enter()
    main(*map(Path, sys.argv[1:]))
