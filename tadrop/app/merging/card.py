"""The model card of a merge: front matter for the hub, the recipe, how it was made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tadrop.app.merging.request import Request
from tadrop.checkpoints.words import Place
from tadrop.errors import TadropError
from tadrop.storage.torch_files.refusal import reading


def written(
    request: Request,
    base: Place | None,
    experts: Mapping[str, Place],
    note: Mapping[str, Any],
) -> str:
    """README.md of OUT. note: what tadrop.json says of the export."""
    places = [*experts.values()] if base is None else [base, *experts.values()]
    front = _front(request, places)
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n".join(_body(request, base, experts, note))


def _front(request: Request, places: Sequence[Place]) -> dict[str, Any]:
    front: dict[str, Any] = {}
    ids: list[str] = []
    for one in places:
        if one.repository is not None:
            ids.append(one.repository)
    if ids:
        front |= {"base_model": ids, "base_model_relation": "merge"}
    front["tags"] = ["merge", "tadrop", request.method]
    cards: list[dict[str, Any]] = []
    for one in places:
        cards.append(_front_of(one.path))
    for key in ("library_name", "pipeline_tag"):
        if cards[0].get(key):
            front[key] = cards[0][key]
    if "library_name" not in front:
        front["library_name"] = _library(places[0].path)
    licences: list[Any] = []
    for card in cards:
        licences.append(card.get("license"))
    if None not in licences and len(set(map(str, licences))) == 1:
        front["license"] = licences[0]
    return front


def _library(path: Path) -> str:
    return (
        "sentence-transformers" if (path / "modules.json").is_file() else "transformers"
    )


def _front_of(folder: Path) -> dict[str, Any]:
    """The front matter of an input's own card; empty where there is none."""
    file = folder / "README.md"
    if not file.is_file():
        return {}
    with reading(file):
        text = file.read_text(encoding="utf-8")
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        content = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _body(
    request: Request,
    base: Place | None,
    experts: Mapping[str, Place],
    note: Mapping[str, Any],
) -> list[str]:
    names: list[str] = []
    for name, expert in experts.items():
        names.append(name if expert.repository is None else expert.shown)
    with_ = " with Tensor-wise Adaptive Drop" if request.tadrop else ""
    lines = [f"# {Path(request.out).name}", ""]
    onto = "" if base is None else f" onto {base.shown}"
    lines += [
        f"A merge of {', '.join(names)}{onto} by `{request.method}`{with_}.",
        "",
    ]
    lines += _licences(base, experts)
    lines += ["## How it was made", ""]
    lines.append(f"- {note['suite']}, scale {note['scale']:g}")
    lines.append(f"- {note['density']:.1%} of the task vectors' entries were merged")
    for told in note.get("notes", ()):
        lines.append(f"- {told}")
    lines += ["", "`tadrop.yaml` makes the same weights again:", ""]
    lines += [
        "```",
        "tadrop merge --recipe tadrop.yaml -o OUT",
        "```",
        "",
    ]
    return [*lines, *_sparsities(note), ""]


def _licences(base: Place | None, experts: Mapping[str, Place]) -> list[str]:
    """Each input's licence, where they are not all the same."""
    places = [*experts.values()] if base is None else [base, *experts.values()]
    licences: list[Any] = []
    for one in places:
        licences.append(str(_front_of(one.path).get("license", "not said")))
    if len(set(licences)) == 1:
        return []
    lines = ["Licences of what went in:", ""]
    for one, licence in zip(places, licences, strict=True):
        lines.append(f"- {one.shown}: {licence}")
    return [*lines, ""]


def _sparsities(note: Mapping[str, Any]) -> list[str]:
    """A table of what was cut of each tensor, folded in."""
    table = note.get("sparsity") or {}
    if not table:
        return []
    tasks = list(next(iter(table.values())))
    lines = ["<details><summary>Sparsity of each tensor</summary>", ""]
    lines.append(f"| tensor | {' | '.join(tasks)} |")
    lines.append(f"|:--|{'--:|' * len(tasks)}")
    for name, values in table.items():
        cells = " | ".join(f"{values[task]:.3f}" for task in tasks)
        lines.append(f"| `{name}` | {cells} |")
    return [*lines, "", "</details>"]


def check_repository(name: str) -> None:
    """Raises TadropError for what is no name of a repository of the hub."""
    organisation, slash, rest = name.partition("/")
    if not slash or not organisation or not rest or "/" in rest:
        raise TadropError(f"--push {name}: a repository is ORG/NAME")
