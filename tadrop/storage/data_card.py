"""Which files of a data set belong to a split, and what its classes are called.

That stands in the YAML header of the data set's README.md. Where it does not, files are
known by the split's name in their paths, as the `datasets` library knows them. That
library is not asked, since it wants to see the files of every split to read one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

from tadrop.types import TadropError

# Other words that stand for a split in the paths of files.
SYNONYMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SUFFIXES = (".parquet", ".tar")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=[-.])")


@dataclass(frozen=True)
class DataCard:
    """The YAML header of a data set's README.md."""

    header: Mapping[str, Any]

    def _entries(self, word: str) -> list[Mapping[str, Any]]:
        """What the header says under a word, a mapping for each configuration."""
        value = self.header.get(word) or []
        return [value] if isinstance(value, Mapping) else list(value)

    def _of(self, word: str, config: str | None) -> Mapping[str, Any] | None:
        """What the header says of a configuration, or of its only one."""
        entries = self._entries(word)
        for entry in entries:
            if entry.get("config_name", "default") == (config or "default"):
                return entry
        if config is None:
            for entry in entries:
                if entry.get("default"):
                    return entry
        return entries[0] if len(entries) == 1 else None

    def configs(self) -> list[str]:
        """The names of the configurations."""
        entries = self._entries("configs")
        return [entry.get("config_name", "default") for entry in entries]

    def patterns(self, config: str | None, split: str) -> list[str] | None:
        """The patterns of a split's files; None where the header gives none."""
        entry = self._of("configs", config)
        if entry is None:
            return None
        data_files, folder = entry.get("data_files"), entry.get("data_dir")
        if data_files is None:
            return None
        paths = _paths(data_files).get(split, [])
        return [f"{folder}/{path}" if folder else path for path in paths]

    def class_names(self, config: str | None, label: str) -> list[str] | None:
        """The names of the classes of a column, if the header gives them."""
        info = self._of("dataset_info", config)
        for feature in (info or {}).get("features", ()):
            kind = feature.get("dtype")
            if feature.get("name") == label and isinstance(kind, Mapping):
                return _in_order(kind.get("class_label", {}).get("names"))
        return None


def read_card(text: str) -> DataCard:
    """The header of a README.md; an empty one where there is none."""
    import yaml

    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        header = yaml.safe_load(found.group(1)) if found else None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TadropError(
            f"the header of README.md is not readable YAML ({reason})"
        ) from error
    return DataCard(header if isinstance(header, Mapping) else {})


def _paths(data_files: Any) -> dict[str, list[str]]:
    """The patterns by split, of any form that the header may have."""
    if isinstance(data_files, Mapping):
        return {str(split): _listed(paths) for split, paths in data_files.items()}
    by_split: dict[str, list[str]] = {}
    for entry in _listed(data_files):
        split, paths = "train", entry
        if isinstance(entry, Mapping):
            split, paths = str(entry["split"]), entry["path"]
        by_split.setdefault(split, []).extend(_listed(paths))
    return by_split


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _in_order(names: Any) -> list[str] | None:
    """Class names by their numbers, which the header may write as text."""
    if isinstance(names, Mapping):
        numbers = sorted(names, key=int)
        return [str(names[number]) for number in numbers]
    return None if names is None else list(map(str, names))


def split_files(
    names: Sequence[str], card: DataCard, config: str | None, split: str
) -> list[str]:
    """The files of a split, in the order of their rows; empty where there are none.

    Only files of SUFFIXES are known. Raises TadropError where a configuration has to be
    named, and where shards are missing.
    """
    data = [name for name in names if name.endswith(SUFFIXES)]
    patterns = card.patterns(config, split)
    if patterns is None and len(card.configs()) > 1:
        there = ", ".join(card.configs())
        raise TadropError(f"its configurations are {there}; config={config} is none")
    if patterns is None:
        files = _by_name(data, config, split)
    else:
        files = list(chain.from_iterable(_fitting(data, each) for each in patterns))
    check_shards(files)
    return files


def _fitting(names: Iterable[str], pattern: str) -> list[str]:
    """The names that fit a pattern; an asterisk stands for no slash, two for any."""
    pattern = pattern.removeprefix("./")
    words: list[str] = []
    for word in re.split(r"(\*\*/?|\*|\?|\[[^]]*\])", pattern):
        words.append(WILDCARDS.get(word, word if word[:1] == "[" else re.escape(word)))
    expression = re.compile("".join(words))
    return sorted(filter(expression.fullmatch, names))


WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _by_name(names: Sequence[str], config: str | None, split: str) -> list[str]:
    """The files whose paths have the split's name in them."""
    below = [name for name in names if name.startswith(f"{config}/")]
    names = sorted(below or names)
    shards = [name for name in names if fnmatchcase(name, f"data/{split}-*-of-*")]
    if shards:
        return shards
    synonyms = SYNONYMS.get(split, (split,))
    folders, files = [], []
    for name in names:
        folder, _, file = name.rpartition("/")
        if _words(folder).intersection(synonyms):
            folders.append(name)
        elif _words(file).intersection(synonyms):
            files.append(name)
    return folders or files


def _words(path: str) -> set[str]:
    return set(re.split(r"[-._ 0-9/]+", path))


def check_shards(names: Sequence[str]) -> None:
    """Raises TadropError where `-00001-of-00003` says that files are missing."""
    numbers: dict[str, set[int]] = {}
    for name in names:
        if shard := SHARD.search(name):
            key = f"{name[: shard.start()]}-of-{shard.group(2)}"
            numbers.setdefault(key, set()).add(int(shard.group(1)))
    for key, there in numbers.items():
        count = int(key[-5:])
        if len(there) < count:
            missing = min(set(range(count)) - there)
            stem = key[: -len("-of-00000")]
            raise TadropError(
                f"{len(there)} of {count} shards of {stem} are there; "
                f"number {missing} is missing"
            )
