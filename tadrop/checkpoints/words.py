"""From the word that someone types to the checkpoint that it means, and its name.

A path that exists wins, whatever it looks like; then `NAME=WORD`; then `hf://ORG/NAME`
and `ORG/NAME`, each perhaps with `@REVISION`. What is on the hub is looked for in its
library's cache first.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tadrop.errors import AbsentError, TadropError
from tadrop.storage.checkpoint import STEMS, SUFFIXES, first_line
from tadrop.storage.hub import LOG_IN, PICKLES, resolve

NAME = re.compile(r"[\w.-]+")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
SCHEME = "hf://"
# What is fetched of a repository: weights, and what stands beside them.
WANTED = (
    *(
        "*.safetensors",
        "*.json",
        "*.txt",
        "*.model",
        "*.jinja",
        "*.tiktoken",
        "*.spm",
    ),
    *(
        "LICENSE*",
        "NOTICE*",
        "*_*/config.json",
        "*_*/model.safetensors",
    ),
    "additional_chat_templates/*",
)
DEPTH = 9  # folders above a place that its name may have
# Names of weight files, which say nothing about what is in them.
WEIGHTS = (
    *("model", "pytorch_model", "adapter_model", "consolidated", "weights"),
    *STEMS,
)


@dataclass(frozen=True)
class Place:
    """Where an input lies.

    name:       what the merge calls it
    word:       what was typed
    repository: on the hub; None for a path
    commit:     of the repository
    is_named:   whether its name was given: NAME=PATH
    """

    name: str
    word: str
    path: Path
    repository: str | None = None
    commit: str | None = None
    is_named: bool = False

    @property
    def shown(self) -> str:
        """What others may be told: a hub id with its commit, or the folder's name."""
        if self.repository is None:
            return self.name
        return f"{self.repository}@{self.commit}" if self.commit else self.repository


def place(word: str, hub: str | None = None) -> Place:
    """What a word means. hub: a local folder laid out like the hub, asked first.

    Raises TadropError naming every reading of a word that means nothing.
    """
    given, name = word, None
    if not _exists(word):
        word, name = _labelled(word)
        _check_label(given, name)
    if _exists(word):
        path = Path(word).expanduser()
        return Place(name or own_name(path), given, path, is_named=name is not None)
    reference = word.removeprefix(SCHEME)
    is_path = word.startswith(("/", ".", "~")) or Path(word).suffix in SUFFIXES
    if not HUB_ID.fullmatch(reference) or is_path:
        raise TadropError(
            f"{word}: there is no such file or folder, and it is no hub id of the form "
            "ORG/NAME[@REVISION]"
        )
    return _fetched(given, reference, name, hub)


def _labelled(word: str) -> tuple[str, str | None]:
    """A word without its name, and the name; before a path that exists, any will do."""
    parts = word.split("=")
    for index in range(1, len(parts)):
        label, rest = "=".join(parts[:index]), "=".join(parts[index:])
        if label and "/" not in label and _exists(rest):
            return rest, label
    label, equals, rest = word.partition("=")
    return (rest, label) if equals and NAME.fullmatch(label) else (word, None)


def _check_label(word: str, label: str | None) -> None:
    """Raises TadropError for a name that no folder of an expert can have."""
    if label is not None and (set(label) <= {"."} or not label.isprintable()):
        raise TadropError(
            f"{word!r}: {label!r} cannot be an expert's name; NAME=PATH, with a NAME of "
            "letters and digits"
        )


def _exists(word: str) -> bool:
    try:
        return bool(word) and Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise TadropError(
            f"{word[:99]}: cannot be a path ({first_line(error)})"
        ) from error


def _fetched(given: str, reference: str, name: str | None, hub: str | None) -> Place:
    """A repository's files on this machine, downloaded if they are not there."""
    try:
        folder = resolve("models", reference, hub, WANTED)
        if not any(folder.glob("*.safetensors")):
            folder = resolve("models", reference, hub, (*WANTED, PICKLES))
    except AbsentError as error:
        raise _nowhere(given, reference, error) from error
    repository = reference.partition("@")[0]
    commit = folder.name if folder.parent.name == "snapshots" else None
    short = name or repository.partition("/")[2]
    return Place(short, given, folder, repository, commit, name is not None)


def _nowhere(given: str, reference: str, error: AbsentError) -> TadropError:
    """The error about a repository that is not here, with what fetches it."""
    from huggingface_hub import constants

    repository, _, revision = reference.partition("@")
    line = f"hf download {repository}{f' --revision {revision}' if revision else ''}"
    remedy = LOG_IN if error.is_closed else f"fetch it: {line}"
    return TadropError(
        f"{given}: no such file or folder, nor is {repository} in the hub's cache "
        f"({constants.HF_HUB_CACHE}) or to be had from the hub ({error.reason}); {remedy}"
    )


def places(words: Iterable[str], hub: str | None = None) -> dict[str, Place]:
    """What words mean, by names that tell them apart: see place and named."""
    found: list[Place] = []
    for word in words:
        found.append(place(word, hub))
    return named(found)


def own_name(path: Path) -> str:
    """What a path is called: its folder's name, or its file's where that says more."""
    resolved = path.resolve()
    if resolved.is_file() and resolved.stem.split(".")[0] in WEIGHTS:
        return resolved.parent.name
    return resolved.name.split(".safetens")[0]


def named(places: Sequence[Place]) -> dict[str, Place]:
    """Places by name. Equal names are told apart by their parents' folders.

    A place that is given twice has a number the second time. Raises TadropError where
    names that were given are equal.
    """
    names: list[str] = []
    for one in places:
        names.append(one.name)
    for depth in range(1, DEPTH):
        for index in _clashing(names, places):
            if not places[index].is_named:
                names[index] = _longer(places[index], depth)
    _number(names, places)
    for name in names:
        if names.count(name) > 1:
            raise TadropError(
                f"two experts are called {name!r}; name them apart: NAME=PATH"
            )
    return dict(zip(names, places, strict=True))


def _clashing(names: Sequence[str], places: Sequence[Place]) -> list[int]:
    """Which names are also those of other places."""
    found: list[int] = []
    for index, name in enumerate(names):
        paths: set[Path] = set()
        for other, one in zip(names, places, strict=True):
            if other == name:
                paths.add(one.path.resolve())
        if len(paths) > 1:
            found.append(index)
    return found


def _longer(place: Place, depth: int) -> str:
    """A name with so many folders above it;
    of a repository its owner and its commit.
    """
    if place.repository is not None:
        owner = place.repository.replace("/", "-")
        return owner if depth == 1 else f"{owner}-{(place.commit or '')[:8]}"
    above = place.path.resolve().parts[1:-1]
    return "-".join((*above[-depth:], place.name))


def _number(names: list[str], places: Sequence[Place]) -> None:
    """Gives a place that was met before the next number that is free: a, a-2, a-3."""
    seen: set[tuple[str, Path]] = set()
    for index, one in enumerate(places):
        key = names[index], one.path.resolve()
        if key in seen and not one.is_named:
            number = 2
            while f"{names[index]}-{number}" in names:
                number += 1
            names[index] = f"{names[index]}-{number}"
        seen.add(key)
