"""An expert's tensors under the base's names, where one prefix is all that differs.

What differs otherwise is said: patterns of names, and what stands in their place.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from tadrop.types import TadropError
from tadrop.vectors.names import is_private

# What wrappers of training code put before every name.
WRAPPERS = (
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "base_model.model.",
    "net.",
)

Shapes = Mapping[str, Sequence[int]]


def prefix_map(
    base: Shapes, expert: Shapes, private: Sequence[str]
) -> tuple[str, str] | None:
    """(what to strip, what to add) so that the expert's names are the base's.

    None where the names fit as they are, or no prefix makes them fit. Every tensor of
    the base that is not private must then be there, in its shape.
    """
    wanted: dict[str, Sequence[int]] = {}
    for name, shape in base.items():
        if not is_private(name, private):
            wanted[name] = shape
    if not wanted or wanted.keys() <= expert.keys():
        return None
    for stripped, added in _candidates(base, expert):
        if _fits(wanted, expert, stripped, added):
            return stripped, added
    return None


def _candidates(base: Shapes, expert: Shapes) -> Iterable[tuple[str, str]]:
    """Prefixes worth trying: of wrappers, and first words of names on either side."""
    yield _common(list(expert)), ""
    for wrapper in WRAPPERS:
        yield wrapper, ""
        yield f"{wrapper}{wrapper}", ""
    for word in _first_words(expert):
        yield word, ""
        for wrapper in WRAPPERS:
            yield f"{wrapper}{word}", ""
    for word in _first_words(base):
        yield "", word


def _common(names: Sequence[str]) -> str:
    """The words that all names begin with, with the dot after them."""
    first, last = min(names).split("."), max(names).split(".")
    words: list[str] = []
    for one, other in zip(first[:-1], last[:-1], strict=False):
        if one != other:
            break
        words.append(f"{one}.")
    return "".join(words)


def _first_words(shapes: Shapes) -> list[str]:
    words = set[str]()
    for name in shapes:
        if "." in name:
            words.add(f"{name.partition('.')[0]}.")
    return sorted(words)


def _fits(wanted: Shapes, expert: Shapes, stripped: str, added: str) -> bool:
    for name, shape in wanted.items():
        if added and not name.startswith(added):
            # What stands outside the prefix in the base is its head: not here.
            return False
        other = stripped + name.removeprefix(added)
        if other not in expert or list(expert[other]) != list(shape):
            return False
    return True


def mapped(names: Iterable[str], stripped: str, added: str) -> dict[str, str]:
    """{the expert's name: its name under the base's}; names outside the prefix stay."""
    new: dict[str, str] = {}
    for name in names:
        inside = name.startswith(stripped)
        new[name] = added + name.removeprefix(stripped) if inside else name
    return new


def outside(names: Iterable[str], stripped: str) -> tuple[str, ...]:
    """The names that do not have a prefix: heads around the body."""
    return tuple(name for name in names if not name.startswith(stripped))


def by_rules(
    task: str, rules: Mapping[str, str], names: Sequence[str]
) -> dict[str, str]:
    """{an expert's name: its name by the rules}.

    rules: regular expressions and what stands in the place of what they find
    Raises TadropError for one that finds nothing or cannot be, and for two tensors of
    one name.
    """
    new = {name: name for name in names}
    for pattern, replacement in rules.items():
        before = dict(new)
        try:
            for name, now in before.items():
                new[name] = re.sub(pattern, replacement, now)
        except (re.error, IndexError) as error:
            raise TadropError(
                f"{_rule(task, pattern, replacement)}: {error}"
            ) from error
        if new == before:
            raise TadropError(
                f"{_rule(task, pattern, replacement)}: changes no tensor's name; one of "
                f"them is {next(iter(names), None)!r}"
            )
    if len(set(new.values())) < len(new):
        raise TadropError(f"rename.{task}: gives two tensors of it the same name")
    return new


def _rule(task: str, pattern: str, replacement: str) -> str:
    return f"rename.{task}: {pattern}={replacement}"
