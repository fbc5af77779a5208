"""The page that says how well the embedded suite predicts published tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tadrop.results.intervals import Interval
from tadrop.results.published import Published
from tadrop.results.table import Table, has_former
from tadrop.results.validity.agreement import Agreement, agreement
from tadrop.results.validity.suites import Suite, own_suites, published_suites

# Rows that the embedded suite was tuned by (docs/calibration.md), and with them those
# that were looked at on the way; what is said of the others is a prediction.
TUNED = ("average", "task_arithmetic", "ties")
CALIBRATION = (*TUNED, "tsv_m", "iso_c", "emr")
SHOWN = "ViT-B/32"  # the backbone that the figure shows
MOST_APART = 5  # methods named for each table
DROPS = ("average", "task_arithmetic", "ties", "consensus_ta", "tsv_m", "emr")
HEAD = """\
# Does the embedded suite predict the field?

Written by `tadrop results` from the committed records and `results/published/*.csv`.
A published table is compared with the leaderboard of as many tasks, method by method:
Kendall's tau-b says how alike they rank, Pearson's r whether averages lie on a line.
The 95 % intervals are of a bootstrap over methods; other models and tasks are not
covered. Plain rows only, no TADrop; where a paper chose a method's scale on validation
data, so does our row (tuned_*.md) where it is recorded. *Held out* leaves out the rows by
which the suite was tuned, or that were looked at on the way ({calibration}); the base and
the single models are in no comparison.

![Published averages against ours; rows by which the suite was tuned are hollow](validity.svg)
"""
OURS = """
## Embedded and published averages

| published table | rows | tau | r | held-out rows | held-out tau |
|:--|--:|--:|--:|--:|--:|
{rows}
"""
FORMER = """
Some rows of ours were made with former formulas or defaults, named in CHANGELOG.md, and
are to be made anew.
"""
CEILING = """
## Published tables among themselves

How well one published table predicts another one of as many tasks: what can be asked
of any suite.

| one table | other table | rows | tau | r |
|:--|:--|--:|--:|--:|
{rows}
"""
APART = """
## Where they disagree most

Rank among the methods of both tables, 1 for the best: ours, then theirs.

{lines}
"""
GROWTH = """
## More tasks

How far a method goes from the base (0) to the single models (100), as the number of
tasks grows.

| table | tasks | {heads} |
|:--|--:|{rules}
{rows}
"""


@dataclass(frozen=True)
class Compared:
    """Two suites of as many tasks. held_out: without the rows of CALIBRATION"""

    one: Suite
    other: Suite
    whole: Agreement
    held_out: Agreement | None


def compared(suites: Iterable[Suite], others: Sequence[Suite]) -> list[Compared]:
    """Each of these suites with each of the others that has as many tasks."""
    pairs: list[Compared] = []
    for one in suites:
        for other in others:
            if one.tasks != other.tasks or one == other:
                continue
            averages = one.beside(other)
            whole = agreement(averages, other.averages)
            held_out = agreement(averages, other.averages, CALIBRATION)
            if whole is not None:
                pairs.append(Compared(one, other, whole, held_out))
    return pairs


def among(suites: Sequence[Suite]) -> list[Compared]:
    """Each pair of suites once."""
    pairs: list[Compared] = []
    for at, one in enumerate(suites):
        pairs += compared([one], suites[at + 1 :])
    return pairs


@dataclass(frozen=True)
class Comparison:
    """Everything that the page says.

    pairs: of our leaderboards with published tables
    ceiling: of published tables with one another
    suites: all of them
    titles: what tables call each row, by its stable name
    former: whether any row of ours was made with former formulas
    """

    pairs: Sequence[Compared]
    ceiling: Sequence[Compared]
    suites: Sequence[Suite]
    titles: Mapping[str, str]
    former: bool = False

    def title(self, name: str) -> str:
        """What people call a row."""
        return self.titles.get(name, name)

    def shown(self) -> list[Compared]:
        """The pairs that the figure shows: those with the backbone of most papers."""
        return [pair for pair in self.pairs if pair.other.model == SHOWN]


def of(tables: Mapping[str, Table], facts: Iterable[Published]) -> Comparison:
    """Our leaderboards among the tables, compared with what is published."""
    own, published = own_suites(tables), published_suites(facts)
    return Comparison(
        pairs=compared(own, published),
        ceiling=among(published),
        suites=[*own, *published],
        titles=_titles(tables.values()),
        former=any(map(has_former, tables.values())),
    )


def _titles(tables: Iterable[Table]) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in tables:
        for row in table.rows:
            if row.method:
                found.setdefault(row.method, row.title)
    return found


def markdown(comparison: Comparison) -> str:
    """The whole page."""
    named = ", ".join(map(comparison.title, CALIBRATION))
    pairs = comparison.pairs
    apart = [_apart(pair, comparison.title) for pair in pairs]
    grown = filter(None, map(_growth, comparison.suites))
    heads = " | ".join(map(comparison.title, DROPS))
    return "".join(
        (
            HEAD.format(calibration=named),
            OURS.format(rows="\n".join(map(_ours, pairs))),
            FORMER if comparison.former else "",
            CEILING.format(rows="\n".join(map(_ceiling, comparison.ceiling))),
            APART.format(lines="\n".join(apart)),
            GROWTH.format(
                heads=heads, rules="--:|" * len(DROPS), rows="\n".join(grown)
            ),
        )
    )


def _ours(pair: Compared) -> str:
    whole, held = pair.whole, pair.held_out
    cells = [
        pair.other.name,
        str(len(whole.names)),
        _with_interval(whole.tau, whole.tau_interval),
        _with_interval(whole.r, whole.r_interval),
        str(len(held.names)) if held else "",
        _with_interval(held.tau, held.tau_interval) if held else "",
    ]
    return f"| {' | '.join(cells)} |"


def _ceiling(pair: Compared) -> str:
    cells = [
        pair.one.name,
        pair.other.name,
        str(len(pair.whole.names)),
        _with_interval(pair.whole.tau, pair.whole.tau_interval),
        _with_interval(pair.whole.r, pair.whole.r_interval),
    ]
    return f"| {' | '.join(cells)} |"


def _with_interval(value: float, interval: Interval) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _apart(pair: Compared, name_of: Callable[[str], str]) -> str:
    said: list[str] = []
    for name, ours, theirs in pair.whole.apart()[:MOST_APART]:
        if ours != theirs:
            said.append(f"{name_of(name)} {ours} and {theirs}")
    return f"- {pair.other.name}: {', '.join(said) or 'nowhere'}."


def _growth(suite: Suite) -> str:
    """The shares of one table; nothing where it says neither base nor single models."""
    shares: list[str] = []
    for method in DROPS:
        share = suite.share(method)
        shares.append("" if share is None else f"{100 * share:.0f}")
    if not any(shares):
        return ""
    name = suite.name.rpartition(",")[0]
    return f"| {' | '.join((name, str(suite.tasks), *shares))} |"
