"""Tables: a pure function of records. Nobody types a number.

Rows with TADrop, or with its uniform control, follow the row of the same method without
it and show the difference of averages. Records that differ in seeds alone, those of the
models' training among them, are one row: mean, with the standard deviation of the
average. A difference comes with its 95 % interval where `compare` can say it
(tadrop/results/intervals.py). A table is values; tadrop/results/columns.py and
formats.py write it down.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tadrop.errors import TadropError
from tadrop.results import captions
from tadrop.results.identity import training_seed
from tadrop.results.intervals import Compare, Interval
from tadrop.results.record import Record
from tadrop.results.row import (
    NOTES,
    Row,
    accuracies,
    data_seen,
    details,
    differing,
    from_records,
    is_reference,
    without_seeds,
)

Groups = Sequence[Sequence[Record]]  # the records of each row


@dataclass(frozen=True)
class Table:
    """Rows over tasks, in order.

    extra: headings of columns that stand in some tables only, such as data and stored
    details: further metrics of some tasks (`captioning BLEU-4`), shown beside them and
    in no average
    """

    title: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    extra: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Tasks, each followed by its details."""
        names: list[str] = []
        for task in self.tasks:
            names.append(task)
            for name in self.details:
                if name.startswith(f"{task} "):
                    names.append(name)
        return tuple(names)


def task_count(table: Table) -> int:
    """How many tasks a table has."""
    return len(table.tasks)


def has_former(table: Table) -> bool:
    """Whether any row was made with former formulas (tadrop/results/store/former.py)."""
    return any(row.former for row in table.rows)


def build(
    records: Sequence[Record],
    title: str = "",
    caption: str = "",
    compare: Compare | None = None,
) -> Table:
    """The table of these records, variants after their method's row.

    References come first, then the methods in the order given; rows that adapt on test
    inputs come last. compare(records of a row, records of its base) gives the interval
    of the difference of averages, in points. Raises TadropError for no records, and for
    records of different task sets.
    """
    tasks = _tasks(records)
    groups = _groups(sorted(records, key=_rank))
    rows = _with_settings(_rows(groups), groups)
    rows = _sectioned(_compared(rows, groups, compare))
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(details(record))
    table = Table(
        title or _title(records),
        tasks,
        tuple(rows),
        caption or captions.caption(records),
        details=tuple(names),
    )
    return _with_own(with_data(table) if any(row.data for row in rows) else table)


def with_data(table: Table) -> Table:
    """The table with what each row saw of the data and what it stores."""
    note = (
        " data: what the method saw of the tasks' data beside the models; "
        "rows that saw the inputs they are graded on stand last. "
        "stored: bytes a task beside the base."
    )
    return replace(
        table, extra=(*table.extra, "data", "stored"), caption=table.caption + note
    )


def _with_own(table: Table) -> Table:
    """The table with the columns that its rows call for: see NOTES."""
    called = {
        "backward": any(row.arrivals for row in table.rows),
        "xz": any(row.coded_bytes for row in table.rows),
    }
    if called["xz"] and "stored" not in table.extra:
        table = with_data(table)
    for heading in filter(called.get, NOTES):
        extra = (*table.extra, heading)
        table = replace(table, extra=extra, caption=table.caption + NOTES[heading])
    return table


def _tasks(records: Sequence[Record]) -> tuple[str, ...]:
    """The tasks that all of these records have."""
    task_lists = {tuple(accuracies(record)) for record in records}
    if not task_lists:
        raise TadropError("no records to make a table of")
    if len(task_lists) > 1:
        raise TadropError("these records are of different task sets; a table has one")
    return task_lists.pop()


def _rank(record: Record) -> tuple[bool, bool, bool]:
    """Sorts the individual models first, then other references, test-time rows last."""
    individual = record["config"]["merge"]["name"] == "individual"
    adapts = "test inputs" in data_seen(record)
    return not is_reference(record), not individual, adapts


def _method(record: Record) -> str:
    """What the variants of a row share:
    all settings but what stands before the merge.
    """
    return without_seeds(record["config"], "tadrop", "before", "sparsify")


def _with_rule(record: Record) -> str:
    """As _method, with the row's own rule, which a record has where it is read."""
    return without_seeds(record["config"], "tadrop", "before")


def _groups(records: Iterable[Record]) -> list[list[Record]]:
    """The records of each row, rows of one method together, the plain one first."""
    methods: dict[str, list[Record]] = {}
    for record in records:
        methods.setdefault(_method(record), []).append(record)
    groups: dict[str, list[Record]] = {}
    for variants in methods.values():
        for record in sorted(variants, key=_is_variant):
            groups.setdefault(without_seeds(record["config"]), []).append(record)
    return list(groups.values())


def _is_variant(record: Record) -> bool:
    return record["config"]["tadrop"] is not None


def _rows(groups: Groups) -> list[Row]:
    """The row of each group, without comparisons and settings."""
    individual: dict[int, Mapping[str, float]] = {}
    plain: set[str] = set()
    for group in groups:
        if group[0]["config"]["merge"]["name"] == "individual":
            for record in group:
                individual.setdefault(
                    training_seed(record["config"]), accuracies(record)
                )
        if not _is_variant(group[0]):
            plain.add(_method(group[0]))
    rows: list[Row] = []
    for group in groups:
        below = _is_variant(group[0]) and _method(group[0]) in plain
        rows.append(from_records(group, individual, below))
    return rows


def _with_settings(rows: Sequence[Row], groups: Groups) -> list[Row]:
    """Rows with the settings that tell them apart,
    where several would read the same.
    """
    alike: dict[object, list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault(row.reading, []).append(index)
    result = list(rows)
    for indices in alike.values():
        if len(indices) == 1:
            continue
        configs = [groups[index][0]["config"] for index in indices]
        for index, settings in zip(indices, differing(configs), strict=True):
            result[index] = replace(rows[index], settings=settings)
    return result


def _compared(
    rows: Sequence[Row], groups: Groups, compare: Compare | None
) -> list[Row]:
    """Rows with their differences: of TADrop to the plain row, and to its control."""
    plain: dict[str, int] = {}
    by_settings: dict[str, int] = {}
    for index, (record, *_) in enumerate(groups):
        by_settings[without_seeds(record["config"])] = index
        if not _is_variant(record):
            plain.setdefault(_method(record), index)
            plain.setdefault(_with_rule(record), index)

    def gain(index: int, base: int) -> tuple[float, Interval | None]:
        interval = compare(groups[index], groups[base]) if compare else None
        return rows[index].measured - rows[base].measured, interval

    result = list(rows)
    for index, (record, *_) in enumerate(groups):
        if not _is_variant(record):
            continue
        row = rows[index]
        # Where TADrop takes the rule's density, the rule of the same density.
        base = plain.get(_with_rule(record), plain.get(_method(record)))
        control = by_settings.get(_control(record))
        if base is not None:
            difference, interval = gain(index, base)
            row = replace(row, difference=difference, interval=interval)
        if control is not None and control != index:
            versus, interval = gain(index, control)
            row = replace(row, versus=versus, versus_interval=interval)
        result[index] = row
    return result


def _control(record: Record) -> str:
    """The settings of the same run with uniform pruning at equal density."""
    config = record["config"]
    uniform = {**config["tadrop"], "assign": "uniform"}
    uniform.pop("deal", None)  # the settings of another control
    return without_seeds({**config, "tadrop": uniform})


def _sectioned(rows: Sequence[Row]) -> list[Row]:
    """Marks the last row of the references and of each method."""
    result = list(rows)
    for index, (row, following) in enumerate(pairwise(rows)):
        references = row.is_reference and following.is_reference
        ends = row.method != following.method and not references
        result[index] = replace(row, ends_section=ends)
    return result


def _title(records: Sequence[Record]) -> str:
    config = records[0]["config"]
    return f"{config['model']['name']}, {len(config['tasks']['names'])} tasks"
