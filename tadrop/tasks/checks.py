"""What every set of tasks asks of its names, its limit and its data."""

from collections.abc import Iterable, Mapping, Sequence

from tadrop.types import Need, TadropError


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


def needed(task: str, reference: str, files: str = "", on_hub: bool = True) -> Need:
    """Data that are not on this machine.

    reference: org/name, a folder, or either with @revision
    files:     which of its files, where others may be there
    """
    return Need(task, reference.partition("@")[0], files, on_hub)
