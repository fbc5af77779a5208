"""Words that would change nothing are refused, and the message says which one would."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from omegaconf import DictConfig

from tadrop.app.schema.faults import at
from tadrop.app.schema.telling import spelling
from tadrop.errors import TadropError

WHOLE = re.compile(r"\$\{(\w+)\}")  # a reference to a setting of the whole run


def check_on(
    bases: Sequence[DictConfig],
    settings: Sequence[Any],
) -> None:
    """Raises TadropError for a setting of TADrop where it is off in every job."""
    if not all(is_off(base.get("tadrop")) for base in bases):
        return
    for word in settings:
        if word.key_or_group.startswith("tadrop."):
            raise TadropError(
                f"{word.input_line}: tadrop is off, and this changes nothing; say tadrop=on"
            )


def check_read(settings: Sequence[Any]) -> None:
    """Raises TadropError for quantiles that another reading of the ratio stands in for."""
    said = {word.key_or_group: word for word in settings}
    reading = said.get("tadrop.reading")
    if reading is None or reading.value() is None:
        return
    for key in ("tadrop.q_lo", "tadrop.q_hi"):
        if key in said:
            raise TadropError(
                f"{said[key].input_line}: {reading.input_line} stands in for the ratio of "
                "these quantiles, and this changes nothing; leave one of them out"
            )


def check_sparsified(
    steps: Sequence[Sequence[str]],
    settings: Sequence[Any],
) -> None:
    """Raises TadropError for a setting of a rule that TADrop stands in for in every job.

    steps: what stands before the merge, job by job
    """
    if "sparsify" in chain.from_iterable(steps):
        return
    for word in settings:
        if word.key_or_group.startswith("sparsify."):
            raise TadropError(
                f"{word.input_line}: TADrop stands in for this rule, and this changes "
                "nothing; say tadrop=off, or before=[tadrop,sparsify] for both"
            )


def check_followers(
    said: Mapping[str, Any],
    settings: Sequence[Any],
) -> None:
    """Raises TadropError for a setting of a part that follows a setting of the run.

    said: what the YAML files say; `limit: ${limit}` of a task set follows the run's
    """
    for word in settings:
        followed = WHOLE.fullmatch(str(at(said, word.key_or_group)))
        if followed:
            name = followed.group(1)
            raise TadropError(
                f"{word.input_line}: {word.key_or_group} follows {name}, which records "
                f"name; say {name}={spelling(word.value())}"
            )


def is_off(tadrop: Any) -> bool:
    """Whether a node of conf/tadrop is that of tadrop=off."""
    return tadrop is None or tadrop.get("assign") == "none"
