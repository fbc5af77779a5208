"""What the jobs of a sweep set differently, for the line of each."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

# What the label of a run says already.
IN_LABELS = ("board", "merge", "tadrop")


def varied_keys(words: Sequence[str]) -> tuple[str, ...]:
    """The keys that a sweep's words give more than one value."""
    keys: list[str] = []
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.is_sweep_override():
            keys.append(override.key_or_group)
    return tuple(key for key in keys if key not in IN_LABELS)


def varied_words(job: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    """What a job's words say of these keys, under their short names: "q_lo=0.5"."""
    said: list[str] = []
    for word in job:
        key, _, value = word.lstrip("+").partition("=")
        if key in keys:
            said.append(f"{key.split('.')[-1]}={value}")
    return tuple(said)
