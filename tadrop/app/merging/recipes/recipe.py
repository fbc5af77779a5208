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

from tadrop.app.merging.recipes.document import Document, read_document
from tadrop.app.merging.recipes.mergekit import mapping as mergekit
from tadrop.app.merging.request import Request
from tadrop.checkpoints.words import HUB_ID, Place
from tadrop.errors import TadropError
from tadrop.storage.torch_files.refusal import first_line

NAME = "tadrop.yaml"
HEAD = "# A merge by {suite}. `tadrop merge --recipe {name} -o OUT` makes the same again.\n"
LISTS = ("settings", "private", "keep_base", "matrices")
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
    *("force", "weights", "density", "t", "chat_template", "rename", "key"),
)


def recipe_file(path: Path) -> Path:
    """The file of a recipe; of a merge's folder the one in it."""
    return path / NAME if path.is_dir() else path


def read_recipe(file: Path, out: str) -> Request:
    """The merge that a file asks for, of this suite or of mergekit.

    file: a recipe, or the folder of a merge, which holds its own
    Raises TadropError naming the line and the word that is not known.
    """
    file = recipe_file(file)
    document = read_document(file, "recipe")
    if not isinstance(document.content, dict):
        raise TadropError(f"{file}: a recipe is a mapping: base, experts, method, ...")
    try:
        return _request(document, out)
    except KeyError as error:
        raise TadropError(f"{file}: an entry has no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise TadropError(
            f"{file}: it is not laid out as recipes are ({first_line(error)})"
        ) from error


def _request(document: Document, out: str) -> Request:
    content = document.content
    if mergekit.is_one(content):
        return mergekit.request(document, out)
    _check_words(document)
    base = content.get("base")
    file = document.file
    return Request(
        base=None if base is None else _word(file, str(base)),
        experts=_experts(document),
        out=out,
        method=str(content["method"]),
        tadrop=content.get("tadrop", False),
        scale=content.get("scale"),
        settings=tuple(map(str, content.get("settings") or ())),
        model=_family(file, content),
        dtype=content.get("dtype"),
        expand=content.get("expand", False),
        shard_size=str(content.get("shard_size", "5GB")),
    )


def _check_words(document: Document) -> None:
    """Raises TadropError for a word that a recipe does not have, or lacks."""
    content = document.content
    for word in content:
        if word not in (*OWN, *FAMILY, "shard_size"):
            near = get_close_matches(str(word), (*OWN, *FAMILY), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise TadropError(
                f"{document.at(str(word))}: a recipe has no {word!r}{meant}"
            )
    for word in ("experts", "method"):
        if word not in content:
            raise TadropError(f"{document.file}: {word} is missing")
    for word in ("tadrop", "expand"):
        if not isinstance(content.get(word, False), bool):
            raise TadropError(f"{document.at(word)}: {word} is true or false")
    for word in LISTS:
        if isinstance(content.get(word), str):
            raise TadropError(
                f"{document.at(word)}: {word} is a list: [{content[word]}]"
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


def _experts(document: Document) -> list[str]:
    node, file = document.content["experts"], document.file
    found: list[str] = []
    if isinstance(node, Mapping):
        for name, path in node.items():
            found.append(f"{name}={_word(file, str(path))}")
        return found
    if isinstance(node, Sequence) and not isinstance(node, str):
        for word in node:
            found.append(_word(file, str(word)))
        return found
    raise TadropError(
        f"{document.at('experts')}: experts is a list, or a mapping from names to paths"
    )


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
