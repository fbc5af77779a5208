"""Whether experts fit their base: everything that does not,
grouped and told at once.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from tadrop.checkpoints.tensors.tied import is_target
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private, layer_of

SHOWN = 5  # tensors that a line names
SIZES = (
    *(
        "hidden_size",
        "d_model",
        "n_embd",
        "num_hidden_layers",
        "n_layer",
        "num_layers",
    ),
    *(
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    ),
)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    text = ", ".join(names[:SHOWN])
    more = len(names) - SHOWN
    return f"{text} and {more} more" if more > 0 else text


def mismatches(
    base: Checkpoint,
    expert: Checkpoint,
    private: Sequence[str],
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> str | None:
    """Why an expert does not fit, in one line; None where it does."""
    merged = _merged(base, private)
    missing: list[str] = []
    for name in merged:
        if name not in expert.tensors:
            missing.append(name)
    shapes: list[str] = []
    for name in merged:
        if name in expert.tensors and expert.like(name).shape != base.like(name).shape:
            shapes.append(name)
    extra: list[str] = []
    for name in expert.tensors:
        if name not in base.tensors and not is_private(name, private):
            extra.append(name)
    if not (missing or shapes or extra):
        return None
    ours, theirs = configs
    kinds = ours.get("model_type"), theirs.get("model_type")
    if None not in kinds and kinds[0] != kinds[1]:
        return f"another architecture: model_type {kinds[0]} against {kinds[1]}"
    parts = _sizes(ours, theirs) if shapes or missing else []
    if not parts and missing and not _shared(merged, missing):
        parts.append("another architecture: it has no tensor of the base")
    parts += _told(base, expert, missing, shapes, extra)
    return "; ".join(parts)


def _merged(base: Checkpoint, private: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in base.tensors:
        floating = base.like(name).is_floating_point()
        if floating and not is_private(name, private) and name not in base.held:
            names.append(name)
    return names


def _shared(merged: Sequence[str], missing: Sequence[str]) -> bool:
    return len(missing) < len(merged)


def _sizes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    told: list[str] = []
    for key in SIZES:
        if key in ours and key in theirs and ours[key] != theirs[key]:
            told.append(f"{key} {ours[key]} against {theirs[key]}")
    return [f"another size of model: {', '.join(told)}"] if told else []


def _told(
    base: Checkpoint,
    expert: Checkpoint,
    missing: Sequence[str],
    shapes: Sequence[str],
    extra: Sequence[str],
) -> list[str]:
    parts: list[str] = []
    known = {*base.tensors, *expert.tensors}
    if shapes:
        texts: list[str] = []
        for name in shapes:
            one, other = (
                list(base.like(name).shape),
                list(expert.like(name).shape),
            )
            texts.append(f"{name} {one} against {other}")
        parts.append(
            f"{len(shapes)} have another shape: {some(texts)} "
            f"(if they are the task's own, heads: --private {patterns(shapes, known)})"
        )
    if missing:
        heads = all(map(is_target, missing))
        remedy = (
            f" (--keep-base {patterns(missing, known)})"
            if heads or len(missing) < 9
            else ""
        )
        parts.append(f"{len(missing)} of the base are missing: {some(missing)}{remedy}")
    if extra:
        parts.append(
            f"{len(extra)} are not in the base: {some(extra)} "
            f"(if they are the task's own, heads: --private {patterns(extra, known)})"
        )
    return parts


def patterns(names: Sequence[str], known: Iterable[str]) -> str:
    """Patterns to paste that fit these tensors, and no others of those known."""
    others = set(known) - set(names)
    found: dict[str, None] = {}
    for name in names:
        layer = f"{layer_of(name)}.*"
        fits = fnmatchcase(name, layer) and not fnmatch.filter(others, layer)
        found[layer if fits else name] = None
    if len(found) > SHOWN:
        found = _by_last_words(names, others) or found
    return " ".join(map("'{}'".format, sorted(found)))


def _by_last_words(names: Sequence[str], others: set[str]) -> dict[str, None]:
    """`*.bias` and the like; nothing where one of them fits other tensors too."""
    found: dict[str, None] = {}
    for name in names:
        pattern = f"*.{name.rpartition('.')[2]}"
        if not fnmatchcase(name, pattern) or fnmatch.filter(others, pattern):
            return {}
        found[pattern] = None
    return found


def check_all(
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    private: Sequence[str],
    base_config: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    also: str | None = None,
) -> None:
    """Raises TadropError that names every expert that does not fit, and why.

    also: what else is wrong
    """
    told: list[str] = []
    for task, expert in experts.items():
        pair = base_config, configs[task]
        reason = mismatches(base, expert, private, pair)
        if reason:
            told.append(f"{expert.path} does not fit the base {base.path}: {reason}")
    if also:
        told.append(also)
    if told:
        raise TadropError("\n       ".join(told))
