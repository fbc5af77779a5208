"""A merge beside its base and its experts on the same data, with paired intervals."""

import math
from collections.abc import Mapping
from pathlib import Path

from tadrop.app.console import stages
from tadrop.app.judging.measuring import PERPLEXITY, Measured, measure
from tadrop.checkpoints.words import Place
from tadrop.merging.compact import COMPACT
from tadrop.numerics.seeds import generator
from tadrop.results.intervals import bootstrap
from tadrop.types import TadropError

MERGE = "merge"  # what the table calls OUT
NAMES = 12  # characters that are left for names at least
REST = 52  # characters of a line beside a name: a number, a difference, its interval


def compared(
    out: Path, others: Mapping[str, Place], data: Path, limit: int
) -> dict[str, Measured]:
    """What every model reaches, the merge first; all with the merge's tokenizer."""
    check_whole(out)
    folders = {MERGE: out}
    for name, one in others.items():
        folders[f"{name}-2" if name == MERGE else name] = one.path
    found: dict[str, Measured] = {}
    for name, folder in folders.items():
        with stages(f"comparison: {name}"):
            found[name] = measure(folder, data, out, limit)
    return found


def check_whole(out: Path) -> None:
    """Raises TadropError for the compact form, which no loader reads."""
    if (out / COMPACT).is_file():
        raise TadropError(
            f"{out}: every task has weights of its own here; compare one of them: "
            f"tadrop unpack {out} TASK -o FOLDER"
        )


def table(found: Mapping[str, Measured], width: int) -> list[str]:
    """Lines: each model's number, and the merge's difference from it.

    width: the most characters of a line; longer names are shortened
    The interval is that of a paired bootstrap over blocks or images, at 95 %.
    """
    merge = found[MERGE]
    room = min(max(NAMES, *map(len, found)), max(width - REST, NAMES))
    better = "lower" if merge.metric == PERPLEXITY else "higher"
    lines = [f"{merge.metric} ({better} is better), {_count(merge)}"]
    lines.append(f"  {'model':<{room}}{merge.metric:>12}   the merge against it (95 %)")
    for name, one in found.items():
        against = "" if one is merge else _against(merge, one)
        shown = name if len(name) <= room else f"...{name[3 - room :]}"
        lines.append(f"  {shown:<{room}}{one.shown():>12}   {against}".rstrip())
    return lines


def _count(merge: Measured) -> str:
    count = len(merge.values)
    return "1 example, too few for intervals" if count == 1 else f"{count} examples"


def _against(merge: Measured, other: Measured) -> str:
    if len(merge.values) == 1:
        return ""
    difference = merge.values - other.values
    low, high = bootstrap([difference], generator(0, "compare", merge.metric))
    if merge.metric == PERPLEXITY:
        # Log-likelihoods differ by what the perplexities' ratio is the exponential of.
        parts = [-float(difference.mean()), -high, -low]
        one, least, most = (100 * (math.exp(part) - 1) for part in parts)
        return f"{one:+.2f} % [{least:+.2f}, {most:+.2f}]"
    points = 100 * float(difference.mean()), 100 * low, 100 * high
    return "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*points)
