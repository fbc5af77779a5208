"""Mistakes of users, told in one line and not in a traceback."""

import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from tadrop.app.terminal.plain import harmless
from tadrop.errors import TadropError

UNDER = "\n       "
NO_SPELLINGS: Mapping[str, str] = {}
# Those of the command that runs, for what is said on the way.
_SPELLINGS: ContextVar[Mapping[str, str]] = ContextVar(
    "spellings", default=NO_SPELLINGS
)
# Words of the command line that have another name now.
RENAMED = {
    "experiment": "board",
    "logger": "tracker",
    "merge.prepare": "merge.search",
    "model.layout": "model.packaging",
    "tadrop.placement": "before",
}
WHY = {
    "tadrop.placement": (
        "the order of what stands before the merge: before=[tadrop,sparsify] for "
        "placement=before, nothing for placement=replace"
    ),
}


def mistake(error: BaseException | None) -> TadropError | None:
    """The TadropError that an error is, or that Hydra wrapped in it; None for none."""
    while error is not None and not isinstance(error, TadropError):
        error = error.__cause__
    return error


def check_renamed(words: Sequence[str]) -> None:
    """Raises TadropError for a word that has another name now."""
    for word in words:
        prefix = word[: len(word) - len(word.lstrip("+~"))]
        key, _, value = word.removeprefix(prefix).partition("=")
        for old, new in RENAMED.items():
            if key == old or key.startswith(f"{old}."):
                now = WHY.get(old, f"{prefix}{new}{key.removeprefix(old)}={value}")
                raise TadropError(f"{key} has another name now: {now}")


@contextmanager
def told_in_one_line(spellings: Mapping[str, str] = NO_SPELLINGS) -> Iterator[None]:
    """Ends a script with one line on standard error, and exit code 1, for a mistake.

    A mistake is a TadropError, or words that Hydra cannot compose.
    spellings: patterns of settings, and how a command without settings spells them
    """
    usual = _SPELLINGS.set(spellings)
    try:
        yield
    except Exception as error:
        cause = mistake(error)
        if cause is None and not _is_of_words(error):
            raise
        words = re.split("See https://|Config search path", str(error))[0].split()
        told = spelled(str(cause or " ".join(words)), spellings)
        # Several that are told at once stand under each other.
        sys.exit(f"error: {UNDER.join(map(harmless, told.split(UNDER)))}")
    finally:
        _SPELLINGS.reset(usual)


def spelled(text: str, spellings: Mapping[str, str] | None = None) -> str:
    """A text with settings as a command spells them.

    spellings: {pattern: what stands for it}; None for those of the command that runs
    """
    if spellings is None:
        spellings = _SPELLINGS.get()
    for pattern, spelling in spellings.items():
        text = re.sub(pattern, spelling, text)
    return text


def _is_of_words(error: Exception) -> bool:
    """Whether it is about words that Hydra cannot compose; without Hydra it is not."""
    if "hydra" not in sys.modules:
        return False
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    composing = isinstance(error, HydraException | OmegaConfBaseException)
    return composing and not isinstance(error, InstantiationException)


@contextmanager
def mistakes_in_one_line(sweeping: bool = False) -> Iterator[None]:
    """Tells a job's TadropError, wherever Hydra may have wrapped it, in one line.

    The exit code is 1. In a sweep the other jobs run, and Hydra exits with 1 at the end.
    """
    try:
        yield
    except Exception as error:
        cause = mistake(error)
        if cause is None:
            # A sweep goes on with its other jobs; Hydra shows this at the very end only.
            traceback.print_exc()
            raise
        if sweeping:
            sys.stderr.write(f"error: {harmless(str(cause))}\n")
            raise cause from None
        sys.exit(f"error: {harmless(str(cause))}")
