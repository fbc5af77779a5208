"""Tables: a pure function of records. Nobody types a number.

Rows with TADrop, or with its uniform control, follow the row of the same method without
it and show the difference of averages. Records that differ in the seed alone are one
row: mean, with the standard deviation of the average. A difference comes with its 95 %
interval where `compare` can say it (tadrop/statistics.py).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from tadrop.results.record import Record
from tadrop.types import TadropError

REFERENCES = ("individual", "pretrained")

Interval = tuple[float, float]
Compare = Callable[[Sequence[Record], Sequence[Record]], Interval | None]


@dataclass(frozen=True)
class Row:
    """One line: accuracies in percent by task, their mean, and what it is compared
    with.

    merge: the method's name; source: of a published row, which has no records
    difference, interval: to the row without TADrop; versus, versus_interval: adaptive
    to its uniform control
    """

    label: str
    values: Mapping[str, float]
    average: float | None
    deviation: float | None
    normalised: float | None
    density: float | None
    stored_bytes: int | None
    scale: str
    keys: tuple[str, ...]
    difference: float | None = None
    ends_section: bool = False
    merge: str = ""
    source: str = ""
    interval: Interval | None = None
    versus: float | None = None
    versus_interval: Interval | None = None
    data: str = "none"

    @property
    def is_reference(self) -> bool:
        """Whether the row is a model before merging."""
        return self.density is None and not self.source


@dataclass(frozen=True)
class Table:
    """Rows over tasks, in order.

    details: further metrics of some tasks (`captioning BLEU-4`), shown beside them and
    in no average
    """

    title: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    extra: tuple[str, ...] = field(
        default=("avg", "norm", "diff", "vs uniform", "kept", "lambda")
    )
    details: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Tasks, each followed by its details."""
        own = {
            task: [name for name in self.details if name.startswith(f"{task} ")]
            for task in self.tasks
        }
        return tuple(name for task in self.tasks for name in (task, *own[task]))

    @property
    def headings(self) -> list[str]:
        return [*(column.replace("_", " ") for column in self.columns), *self.extra]

    def cells(self, row: Row) -> list[str]:
        """The cells of a row, without its label."""
        spread = "" if row.deviation is None else f" ± {row.deviation:.1f}"
        extra = {
            "avg": "" if row.average is None else f"{row.average:.1f}{spread}",
            "norm": "" if row.normalised is None else f"{row.normalised:.1f}",
            "diff": _gain(row.difference, row.interval),
            "vs uniform": _gain(row.versus, row.versus_interval),
            "kept": "" if row.density is None else f"{row.density:.2f}",
            "lambda": row.scale,
            "data": row.data,
            "stored": ""
            if row.stored_bytes is None
            else size(row.stored_bytes / len(self.tasks)),
        }
        values = [
            f"{row.values[column]:.1f}" if column in row.values else ""
            for column in self.columns
        ]
        return values + [extra[name] for name in self.extra]


def _gain(difference: float | None, interval: Interval | None) -> str:
    """+1.2 [0.9, 1.5]: a difference and, where it is known, its interval."""
    if difference is None:
        return ""
    return f"{difference:+.1f}" + (
        "" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]"
    )


def size(count: float) -> str:
    """Bytes as people read them: 0, 12.3 kB, 1.27 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count else "0"
        count /= 1000
    raise AssertionError("unreachable")


def _merge(record: Record) -> Mapping[str, Any]:
    return record["config"]["merge"]


def _is_reference(record: Record) -> bool:
    return _merge(record)["name"] in REFERENCES


def _identity(record: Record, *without: str) -> str:
    """The configuration as a string, without its seeds and some nodes: equal strings
    are the same row.
    """
    return json.dumps(
        {
            k: _seedless(v)
            for k, v in record["config"].items()
            if k not in (*without, "seed")
        },
        sort_keys=True,
    )


def _seedless(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {k: _seedless(v) for k, v in node.items() if k != "seed"}
    return [_seedless(v) for v in node] if isinstance(node, list | tuple) else node


def _data(record: Record) -> str:
    """What a row saw of the tasks' data before it was evaluated."""
    seen = [_merge(record).get("data", "none")]
    if record["selection"]["split"] == "validation":
        seen = [word for word in seen if word not in ("none", "validation labels")] + [
            "validation labels"
        ]
    return " and ".join(seen)


def _adapts(record: Record) -> bool:
    """Whether a row saw the inputs that it is graded on."""
    return "test inputs" in _data(record)


def _values(record: Record) -> dict[str, float]:
    return {score["task"]: 100 * score["value"] for score in record["scores"]}


def _details(record: Record) -> dict[str, float]:
    return {
        f"{s['task']} {name}": 100 * v
        for s in record["scores"]
        for name, v in s.get("details", {}).items()
    }


def _grouped(
    records: Iterable[Record], identity: Callable[[Record], str]
) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(identity(record), []).append(record)
    return groups


def _row(
    group: Sequence[Record], label: str, individual: Mapping[str, float] | None
) -> Row:
    values = [_values(record) for record in group]
    tasks = list(values[0])
    averages = [mean(v.values()) for v in values]
    ratios = None
    if individual and all(individual.values()):
        ratios = mean(v[t] / individual[t] for v in values for t in tasks) * 100
    reference = _is_reference(group[0])
    scales = sorted({record["selection"]["scale"] for record in group})
    return Row(
        label=label,
        values={t: mean(v[t] for v in values) for t in tasks} | _mean_details(group),
        average=mean(averages),
        deviation=stdev(averages) if len(group) > 1 else None,
        normalised=ratios,
        density=None if reference else mean(record["density"] for record in group),
        stored_bytes=max(record["stored_bytes"] for record in group),
        scale="" if reference else "/".join(f"{s:g}" for s in scales),
        keys=tuple(record["key"] for record in group),
        merge=_merge(group[0])["name"],
        data="none" if reference else _data(group[0]),
    )


def _mean_details(group: Sequence[Record]) -> dict[str, float]:
    """The details that every record of a row has."""
    found = [_details(record) for record in group]
    return {
        name: mean(each[name] for each in found)
        for name in found[0]
        if all(name in each for each in found)
    }


def _labels(groups: Sequence[Sequence[Record]]) -> list[str]:
    """Title and TADrop variant; settings are spelled out only where several rows would
    read the same.
    """
    heads = {
        _identity(group[0], "tadrop")
        for group in groups
        if group[0]["config"]["tadrop"] is None
    }
    plain = [
        _label(group[0], _identity(group[0], "tadrop") in heads) for group in groups
    ]
    full = [
        f"{_merge(group[0])['name']} {label}"
        for group, label in zip(groups, plain, strict=True)
    ]
    labels = []
    for group, label, whole in zip(groups, plain, full, strict=True):
        rivals = [g[0] for g, w in zip(groups, full, strict=True) if w == whole]
        labels.append(
            label if len(rivals) == 1 else f"{label} ({_settings(group[0], rivals)})"
        )
    return labels


def _label(record: Record, has_plain_row: bool) -> str:
    tadrop, title = record["config"]["tadrop"], _merge(record)["title"]
    if tadrop is None:
        return title
    name = "TADrop" if tadrop["assign"] == "adaptive" else tadrop["assign"]
    before = ", before" if tadrop["placement"] == "before" else ""
    return ("  + " if has_plain_row else f"{title} + ") + name + before


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, Mapping):
        return {
            k: v
            for key, value in node.items()
            for k, v in _flat(value, f"{prefix}{key}.").items()
        }
    return {prefix[:-1]: node}


def _settings(record: Record, rivals: Sequence[Record]) -> str:
    """The settings in which a record differs from those that share its label."""
    flats = [_flat(rival["config"]) for rival in rivals]
    names = {k for k in set().union(*flats) if k.split(".")[-1] != "seed"}
    keys = sorted(k for k in names if len({json.dumps(f.get(k)) for f in flats}) > 1)
    mine = _flat(record["config"])
    return ", ".join(f"{k.split('.')[-1]}={mine.get(k)}" for k in keys)


def build(
    records: Sequence[Record],
    title: str = "",
    caption: str = "",
    compare: Compare | None = None,
) -> Table:
    """The table of these records, references first, then in the order given, variants
    after their method's row.

    Rows that adapt on test inputs come last. compare(records of a row, records of its
    base) -> the interval of the difference of averages, in points.
    """
    if not records:
        raise TadropError("no records to make a table of")
    task_lists = {tuple(_values(record)) for record in records}
    if len(task_lists) > 1:
        raise TadropError("these records are of different task sets; a table has one")
    ordered = sorted(
        records,
        key=lambda r: (
            not _is_reference(r),
            _merge(r)["name"] != "individual",
            _adapts(r),
        ),
    )
    groups = list(_grouped(_by_method(ordered), lambda r: _identity(r)).values())
    individual = next(
        (_values(r) for r in records if _merge(r)["name"] == "individual"), None
    )
    rows = [
        _row(group, label, individual)
        for group, label in zip(groups, _labels(groups), strict=True)
    ]
    rows = _sectioned(_compared(rows, groups, compare or (lambda ours, theirs: None)))
    details = tuple(
        dict.fromkeys(name for record in records for name in _details(record))
    )
    table = Table(
        title or _title(records),
        task_lists.pop(),
        tuple(rows),
        caption or _caption(records),
        details=details,
    )
    return with_data(table) if any(row.data != "none" for row in rows) else table


def with_data(table: Table) -> Table:
    """The table with what each row saw of the data and what it stores."""
    note = (
        " data: what the method saw of the tasks' data beside the models; rows that saw the inputs they are graded on "
        "stand last. stored: bytes a task beside the base."
    )
    return replace(
        table, extra=(*table.extra, "data", "stored"), caption=table.caption + note
    )


def _by_method(records: Sequence[Record]) -> list[Record]:
    """Stable: rows of one method together, the one without TADrop first."""
    first: dict[str, int] = {}
    for record in records:
        first.setdefault(_identity(record, "tadrop"), len(first))
    return sorted(
        records,
        key=lambda r: (
            first[_identity(r, "tadrop")],
            r["config"]["tadrop"] is not None,
        ),
    )


def _compared(
    rows: Sequence[Row], groups: Sequence[Sequence[Record]], compare: Compare
) -> list[Row]:
    """Adds each TADrop row's difference to its method without it, and the adaptive
    row's to the uniform control.
    """
    by_variant = {
        _identity(group[0]): (row, group)
        for row, group in zip(rows, groups, strict=True)
    }
    result = []
    for row, group in zip(rows, groups, strict=True):
        config = group[0]["config"]
        found = {}
        if config["tadrop"] is not None:
            base = by_variant.get(_variant(config, None))
            control = by_variant.get(_variant(config, _uniform(config["tadrop"])))
            if base is not None:
                found = {
                    "difference": row.average - base[0].average,
                    "interval": compare(group, base[1]),
                }
            if control is not None and config["tadrop"]["assign"] != "uniform":
                found |= {
                    "versus": row.average - control[0].average,
                    "versus_interval": compare(group, control[1]),
                }
        result.append(replace(row, **found))
    return result


def _variant(config: Mapping[str, Any], tadrop: Mapping[str, Any] | None) -> str:
    """The identity of the same run with another tadrop node."""
    return _identity({"config": {**config, "tadrop": tadrop}})


def _uniform(tadrop: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in tadrop.items() if k != "seed"} | {"assign": "uniform"}


def _sectioned(rows: Sequence[Row]) -> list[Row]:
    """Marks the last row of the references and of each method."""
    ends = [
        a.merge != b.merge and not (a.is_reference and b.is_reference)
        for a, b in pairwise(rows)
    ]
    return [
        replace(row, ends_section=end)
        for row, end in zip(rows, [*ends, False], strict=True)
    ]


def _title(records: Sequence[Record]) -> str:
    config = records[0]["config"]
    return f"{config['model']['name']}, {len(config['tasks']['names'])} tasks"


def _caption(records: Sequence[Record]) -> str:
    protocol = records[0]["protocol"]
    limit = (
        "" if protocol["limit"] is None else f" (at most {protocol['limit']} a task)"
    )  # which ones: tadrop/tasks
    count = sum(score["count"] for score in records[0]["scores"])
    return (
        f"{protocol['metric']} in percent, {protocol['split']} split, {count} examples{limit}, "
        f"protocol {protocol['tasks']}. "
        "norm: mean over tasks of the ratio to the individual model. diff: to the row without TADrop. "
        "vs uniform: to the same method with uniform pruning at equal density. "
        "[a, b]: 95 % interval, paired bootstrap over test examples; it does not cover seeds or tasks. "
        "kept: fraction of task-vector entries not zero when merged."
    )


def markdown(table: Table) -> str:
    """GitHub-flavoured Markdown."""
    head = ["method", *table.headings]
    lines = [
        f"| {' | '.join(head)} |",
        "|" + "|".join([":--"] + ["--:"] * len(table.headings)) + "|",
    ]
    for row in table.rows:
        label = (
            "&nbsp;&nbsp;" + row.label.strip()
            if row.label.startswith("  ")
            else row.label
        )
        lines.append(f"| {label} | {' | '.join(table.cells(row))} |")
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.caption}\n"


def csv(table: Table) -> str:
    """Full precision, one line a row, with the records' keys."""
    head = ["method", *table.columns, "average", "deviation", "normalised"]
    head += [
        "difference",
        "difference_low",
        "difference_high",
        "versus_uniform",
        "versus_low",
        "versus_high",
    ]
    head += ["density", "scale", "bytes", "data", "records", "source"]
    lines = [",".join(head)]
    for row in table.rows:
        numbers = [
            *(row.values.get(c) for c in table.columns),
            row.average,
            row.deviation,
            row.normalised,
        ]
        numbers += [
            row.difference,
            *(row.interval or (None, None)),
            row.versus,
            *(row.versus_interval or (None, None)),
        ]
        cells = [_number(n) for n in (*numbers, row.density)]
        stored = "" if row.stored_bytes is None else str(row.stored_bytes)
        words = [row.scale, stored, row.data, " ".join(row.keys), _quoted(row.source)]
        lines.append(",".join([_quoted(row.label.strip()), *cells, *words]))
    return "\n".join(lines) + "\n"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if "," in cell or '"' in cell else cell


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def latex(table: Table) -> str:
    """A booktabs tabular."""
    lines = [
        f"% {table.title}",
        r"\begin{tabular}{l" + "r" * len(table.headings) + "}",
        r"\toprule",
    ]
    lines += [
        " & ".join(["method", *table.headings]).replace("_", r"\_") + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        label = (
            r"\quad " + row.label.strip() if row.label.startswith("  ") else row.label
        )
        cells = [cell.replace("±", r"$\pm$") for cell in table.cells(row)]
        lines.append(
            " & ".join([label, *cells]).replace("_", r"\_").replace("%", r"\%") + r" \\"
        )
        if row.ends_section:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
