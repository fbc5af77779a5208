"""Recipes: a merge as a short YAML file. Every merge leaves one in OUT, which makes the
same bits again.

Paths stand in it relative to the file, hub ids with the commit that was merged.
"""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from tadrop.app.merging.mergekit import mapping as mergekit
from tadrop.app.merging.request import Request
from tadrop.checkpoints.words import HUB_ID, Place
from tadrop.errors import TadropError
from tadrop.storage.torch_files.refusal import first_line

NAME = "tadrop.yaml"
HEAD = "# A merge by {suite}. `tadrop merge --recipe {name} -o OUT` makes the same again.\n"
# Words of a recipe that are the request's own, and those that the model takes.
OWN = (
    "base",
    "experts",
    "method",
    "tadrop",
    "scale",
    "settings",
    "dtype",
    "expand",
)
FAMILY = (
    *(
        "private",
        "matrices",
        "keep_base",
        "tokenizer",
        "statistics",
        "round_base",
    ),
    *("force", "weights", "density", "t", "chat_template", "rename"),
)


def read_recipe(file: Path, out: str) -> Request:
    """The merge that a file asks for, of this suite or of mergekit.

    Raises TadropError naming the line or the word that is not known.
    """
    content = read_yaml(file, "recipe")
    if not isinstance(content, dict):
        raise TadropError(f"{file}: a recipe is a mapping: base, experts, method, ...")
    try:
        return _request(file, content, out)
    except KeyError as error:
        raise TadropError(f"{file}: an entry has no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise TadropError(
            f"{file}: it is not laid out as recipes are ({first_line(error)})"
        ) from error


def read_yaml(file: Path, what: str) -> Any:
    """What a YAML file says. what: what it is, for errors

    Raises TadropError with the line that is no YAML.
    """
    if not file.is_file():
        raise TadropError(f"{file}: there is no such {what}")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TadropError(
            f"{file}: the {what} cannot be read ({first_line(error)})"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TadropError(
            f"{file}, line {line}: the {what} is no YAML ({error.problem})"
        ) from error
    except yaml.YAMLError as error:
        raise TadropError(
            f"{file}: the {what} is no YAML ({first_line(error)})"
        ) from error


def _request(file: Path, content: Mapping[str, Any], out: str) -> Request:
    if mergekit.is_one(content):
        return mergekit.request(file, content, out)
    for word in content:
        if word not in (*OWN, *FAMILY, "shard_size"):
            near = get_close_matches(str(word), (*OWN, *FAMILY), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise TadropError(f"{file}: a recipe has no {word!r}{meant}")
    for word in ("experts", "method"):
        if word not in content:
            raise TadropError(f"{file}: {word} is missing")
    for word in ("tadrop", "expand"):
        if not isinstance(content.get(word, False), bool):
            raise TadropError(f"{file}: {word} is true or false")
    settings = content.get("settings") or ()
    if isinstance(settings, str):
        raise TadropError(f"{file}: settings is a list: [{settings}]")
    base = content.get("base")
    return Request(
        base=None if base is None else _word(file, str(base)),
        experts=_experts(file, content["experts"]),
        out=out,
        method=str(content["method"]),
        tadrop=content.get("tadrop", False),
        scale=content.get("scale"),
        settings=tuple(map(str, settings)),
        model=_family(file, content),
        dtype=content.get("dtype"),
        expand=content.get("expand", False),
        shard_size=str(content.get("shard_size", "5GB")),
    )


def _family(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    model = {word: content[word] for word in FAMILY if word in content}
    if model.get("chat_template") is not None:
        model["chat_template"] = _word(file, str(model["chat_template"]))
    for word in ("weights", "density"):
        if isinstance(model.get(word), Mapping):
            # YAML reads a folder called 7 as a number.
            model[word] = dict(
                zip(map(str, model[word]), model[word].values(), strict=True)
            )
    return model


def _experts(file: Path, node: Any) -> list[str]:
    if isinstance(node, Mapping):
        found: list[str] = []
        for name, path in node.items():
            found.append(f"{name}={_word(file, str(path))}")
        return found
    if isinstance(node, Sequence) and not isinstance(node, str):
        found: list[str] = []
        for word in node:
            found.append(_word(file, str(word)))
        return found
    raise TadropError(f"{file}: experts is a list, or a mapping from names to paths")


def _word(file: Path, word: str) -> str:
    """A word of a recipe: a path from its folder, or what it says as it is."""
    path = Path(word).expanduser()
    beside = file.parent / path
    if path.is_absolute() or not beside.exists():
        return word
    return str(beside)


def written(request: Request, base: Place | None, experts: Mapping[str, Place]) -> str:
    """The recipe of a merge, as it stands in OUT."""
    from tadrop.results.provenance import version_of

    out = Path(request.out)
    content: dict[str, Any] = {"base": None if base is None else _told(base, out)}
    content["experts"] = {name: _told(one, out) for name, one in experts.items()}
    content["method"] = request.method
    content["tadrop"] = request.tadrop
    if request.scale is not None:
        content["scale"] = request.scale
    if request.settings:
        content["settings"] = list(request.settings)
    for word, value in request.model.items():
        if word in FAMILY and value not in (None, [], (), {}, False):
            content[word] = list(value) if isinstance(value, tuple) else value
    template = content.get("chat_template")
    if template is not None and Path(template).expanduser().is_file():
        content["chat_template"] = _from(out, Path(template).expanduser())
    for word, value in (
        ("dtype", request.dtype),
        ("expand", request.expand),
    ):
        if value:
            content[word] = value
    if request.shard_size != "5GB":
        content["shard_size"] = request.shard_size
    head = HEAD.format(suite=f"tadrop {version_of('tadrop')}", name=NAME)
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _told(place: Place, out: Path) -> str:
    if place.repository is not None:
        return place.shown
    return _from(out, place.path)


def _from(out: Path, path: Path) -> str:
    """A path as it is written in a recipe in OUT."""
    inside = os.path.relpath(path.resolve(), out.resolve())
    # A path that reads as a hub id is told from one by its beginning.
    return f"./{inside}" if HUB_ID.fullmatch(inside) else inside
