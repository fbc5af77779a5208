"""What tables say, in sentences that are made of their values and of nothing else.

A difference counts where its 95 % interval, as tables show it, leaves out zero; what the
intervals cover stands below each table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tadrop.results.columns import gain
from tadrop.results.formats import marked, settings
from tadrop.results.intervals import Interval, side
from tadrop.results.row import Row
from tadrop.results.store import former
from tadrop.results.table import Table

MOST_NAMED, FEW = 5, 3  # differences, and averages, in one sentence
TEST_INPUTS = "test inputs"
HEAD = """\
What the committed records say, written by `tadrop results`. A difference counts where its
95 % interval, to a tenth of a point, leaves out zero. It is over test examples; where the
table is of several sets of models, over sets and tasks too, as its caption says.

"""


@dataclass(frozen=True)
class Finding:
    """What one table says.

    file:    the name of what is written of it
    best:    its best rows, in sentences
    control: of TADrop against its uniform control; plain: against the row without it
    """

    file: str
    title: str
    best: tuple[str, ...]
    control: tuple[str, ...]
    plain: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them."""
        return self.best + self.control + self.plain


@dataclass(frozen=True)
class Gain:
    """A difference of a method's row with TADrop, in points."""

    name: str
    points: float
    interval: Interval

    @property
    def text(self) -> str:
        return f"{self.name} {gain(self.points, self.interval)}"


def findings(tables: Mapping[str, Table]) -> list[Finding]:
    """What each table says, those of every method first; silent ones are left out."""
    found: list[Finding] = []
    for file, table in sorted(tables.items(), key=_rank):
        control, plain = tuple(against_control(table)), tuple(against_plain(table))
        one = Finding(file, table.title, tuple(best(table)), control, plain)
        if one.sentences:
            found.append(one)
    return found


def _rank(named: tuple[str, Table]) -> tuple[bool, str, int]:
    """Sorts tables of every method first, then by name and number of tasks."""
    file, table = named
    return "stored" not in table.extra, file.rstrip("0123456789"), len(table.tasks)


def markdown(found: Iterable[Finding]) -> str:
    """The findings as a page, each with a link to its table."""
    lines: list[str] = []
    for one in found:
        lines.append(f"- [{one.title}]({one.file}.md) ({one.file})")
        lines += map("    - {}".format, one.sentences)
    text = "\n".join(lines)
    note = f"{former.CAPTION}\n\n" if former.MARK in text else ""
    return f"{HEAD}{note}{text}\n"


def best(table: Table) -> Iterator[str]:
    """The best plain rows, and the best that leave one model for all tasks.

    Only of tables that say what rows store, which are those of every method.
    """
    if "stored" not in table.extra:
        return
    references = filter(attrgetter("is_reference"), table.rows)
    rows = filter(_competes, table.rows)
    ranked = sorted(rows, key=attrgetter("measured"), reverse=True)
    levels = _named(references)
    yield f"Best without TADrop: {_named(ranked[:FEW])} ({levels})."
    whole = _one_model(table)
    single: list[Row] = []
    for row in ranked:
        if (row.stored_bytes or 0) <= whole:
            single.append(row)
    if single:
        said = "Best of those that leave one model for all tasks"
        yield f"{said}: {_named(single[:FEW])}."


def _competes(row: Row) -> bool:
    """Whether a row is a plain merge that saw no input it is graded on."""
    merges = row.density is not None and not row.source
    return merges and not row.variant and TEST_INPUTS not in row.data


def _one_model(table: Table) -> float:
    """The bytes of one model's vector, with a little for factors; -1 if unknown."""
    for row in table.rows:
        if row.method == "individual" and row.stored_bytes:
            return 1.01 * row.stored_bytes / len(table.tasks)
    return -1.0


def _named(rows: Iterable[Row]) -> str:
    """Rows with their averages."""
    words: list[str] = []
    for row in rows:
        words.append(f"{marked(row)} {row.measured:.1f}")
    return ", ".join(words)


def against_control(table: Table) -> Iterator[str]:
    """TADrop against its uniform control at equal density."""
    gains = list(_gains(table, "versus", "versus_interval"))
    if gains:
        yield _told(gains, "Against its uniform control at equal density TADrop")


def against_plain(table: Table) -> Iterator[str]:
    """TADrop against the row without it."""
    gains = list(_gains(table, "difference", "interval"))
    if gains:
        yield _told(gains, "Against the same row without it TADrop")


def _gains(table: Table, points: str, interval: str) -> Iterator[Gain]:
    """A difference of each row with TADrop that has one with an interval."""
    for row, value, ends in differences(table, points, interval):
        yield Gain(_name(row), value, ends)


def differences(
    table: Table, points: str, interval: str
) -> Iterator[tuple[Row, float, Interval]]:
    """Each row with TADrop that has a difference with an interval, and both.

    points, interval: their names in a row: difference and interval, or versus and
    versus_interval
    """
    for row in table.rows:
        value, ends = attrgetter(points, interval)(row)
        if row.variant == "TADrop" and value is not None and ends is not None:
            yield row, value, ends


def _name(row: Row) -> str:
    """The method of a row, with what tells it from its other rows."""
    apart = ", ".join(filter(None, (row.standing, settings(row))))
    name = f"{row.title} ({apart})" if apart else row.title
    return name + former.MARK if row.former else name


def _told(gains: Sequence[Gain], subject: str) -> str:
    """How many are ahead and behind, and the largest of them."""
    ordered = sorted(gains, key=attrgetter("points"), reverse=True)
    ahead: list[Gain] = []
    behind: list[Gain] = []
    for one in ordered:
        if side(one.interval) > 0:
            ahead.append(one)
        elif side(one.interval) < 0:
            behind.insert(0, one)
    count = len(gains)
    said = f"{subject} is ahead with {len(ahead)} of {count}{_largest(ahead)}"
    return f"{said}; behind with {len(behind)}{_largest(behind)}."


def _largest(gains: Sequence[Gain]) -> str:
    """The first few by name, in brackets."""
    if not gains:
        return ""
    named = ", ".join(map(attrgetter("text"), gains[:MOST_NAMED]))
    more = ", …" if len(gains) > MOST_NAMED else ""
    return f" ({named}{more})"
