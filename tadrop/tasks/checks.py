"""What every set of tasks asks of its names, its limit and its data."""

from collections.abc import Iterable, Mapping, Sequence

from tadrop.storage import hub as hubs
from tadrop.types import TadropError


def known_names(
    kind: str, names: Iterable[str], known: Iterable[str]
) -> tuple[str, ...]:
    """The names. Raises TadropError for the first that no task of this kind has."""
    names, known = tuple(names), tuple(known)
    for name in names:
        if name not in known:
            raise TadropError(
                f"no {kind} task is called {name!r}; there are {', '.join(known)}"
            )
    return names


def check_limit(limit: int | None) -> None:
    """Raises TadropError for a limit that leaves nothing."""
    if limit is not None and limit < 1:
        raise TadropError(f"limit is {limit}; it must be at least 1, or null for all")


def differing(
    task: str, counts: Mapping[str, tuple[int | None, int | None]]
) -> list[str]:
    """What is not as expected, in words.

    counts: the number there is and the number expected, by what is counted; nothing is
    expected where the latter is None
    """
    differences = []
    for what, (count, expected) in counts.items():
        if expected is not None and count != expected:
            differences.append(f"{task} has {count} of {expected} {what}")
    return differences


def refuse(place: object, odd: Sequence[str], strict: bool) -> None:
    """Raises TadropError for data that are not as expected, unless strict is off."""
    if odd and strict:
        raise TadropError(
            f"{place}: {odd[0]}; this is not the published test set. "
            "tasks.strict=false goes on and says so in the record"
        )


def not_at_hand(references: Mapping[str, str], hub: str | None) -> list[str]:
    """A line for each task whose data set is in no local folder.

    references: org/name, a folder, or either with @revision, by task
    hub:        the local folder in the hub's layout
    """
    lines = []
    for task, reference in references.items():
        name = reference.partition("@")[0]
        if hubs.local("datasets", name, hub) is None:
            lines.append(
                f"task {task!r} needs the data set {name}, unless the hub's cache has it"
            )
    return lines
