"""The words of a command line: overrides as Hydra reads them."""

from collections.abc import Iterable, Mapping

# The order in which a command names the choices of a run; other words follow.
SPOKEN = ("model", "tasks", "merge", "tadrop")


def key_of(word: str) -> str:
    """What an override changes."""
    return word.partition("=")[0]


def group_of(word: str) -> str:
    """The group that an override changes, or the first part of a value's path."""
    return key_of(word).partition(".")[0]


def without(words: Iterable[str], groups: Iterable[str]) -> list[str]:
    """The words that change none of these groups."""
    left_out = set(groups)
    return [word for word in words if group_of(word) not in left_out]


def latest(words: Iterable[str]) -> list[str]:
    """Of words for the same key the last, which counts."""
    by_key: dict[str, str] = {}
    for word in words:
        by_key[key_of(word)] = word
    return list(by_key.values())


def spelled(values: Mapping[str, object]) -> list[str]:
    """Overrides from values by key."""
    return [f"{key}={value}" for key, value in values.items()]


def spoken(words: Iterable[str]) -> list[str]:
    """A job's words without its board, in the order in which a command has them."""
    return sorted(without(words, ["+board"]), key=_place)


def _place(word: str) -> int:
    """Where a word stands in a command."""
    key = key_of(word)
    return SPOKEN.index(key) if key in SPOKEN else len(SPOKEN)
