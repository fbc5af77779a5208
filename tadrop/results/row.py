"""The row of a table, as values: what was run, and what came of it.

A row is read from the records of one run, or from those that differ in a seed alone.
Nothing here is text for people: tadrop/results/formats.py writes a row down.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from statistics import mean, stdev
from typing import Any

from tadrop.results.identity import SEEDS, training_seed, variant
from tadrop.results.intervals import Interval
from tadrop.results.record import Record
from tadrop.results.store.facts import leaves

REFERENCES = ("individual", "pretrained")
# What a caption says of columns that stand in some tables only.
NOTES = {
    "backward": " Tasks came one by one, in an order of each seed; ± is over orders. "
    "backward: accuracy after the last task less that just after the task's own, mean "
    "over all tasks but the last.",
    "xz": " Rows were written in the packed form and read back: stored is the file on "
    "the disk, xz the same with its masks and level numbers compressed by LZMA.",
}

Config = Mapping[str, Any]
Individual = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Row:
    """One line of a table. Accuracies and differences are in percent.

    What was run:
    method:     the stable name of the merge row; "" for a published row
    title:      the name that people read
    variant:    "" without TADrop, else "TADrop" or the name of one of its controls
    settings:   those in which it differs from rows that read alike, by dotted path
    before:     what is done to the task vectors before the merge, in that order
    below:      whether it stands below the row of its method without TADrop
    scales:     ascending; there are several where the seeds chose different ones
    data:       what the method saw of the tasks' data beside the models
    keys:       of its records
    former:     whether these were made with former formulas (store/former.py)
    source, mark: of a published row, which has no records: where it was printed, and
                the number of its note in the caption

    What came of it:
    values:     accuracies by task, and the details of a task by `task metric`
    average:    their mean over tasks; None for a published row that does not say it
    deviation:  of the average over seeds, and over sets of models
    normalised: the mean over tasks of the ratio to the individual model
    density:    the share of entries that are not zero; None where nothing was merged
    stored_bytes: of all tasks, beside the base
    coded_bytes: the same of a packed file whose bits are compressed; None elsewhere
    backward, backward_deviation: where tasks arrive one by one, what they lose or gain
                by those after them, and its deviation over orders
    arrivals:   then the average over the tasks seen, after each arrival
    difference, interval: to the row without TADrop
    versus, versus_interval: of adaptive TADrop to its uniform control
    ends_section: whether a line is drawn below it
    """

    method: str
    title: str
    values: Mapping[str, float]
    average: float | None
    variant: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    below: bool = False
    scales: tuple[float, ...] = ()
    data: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    former: bool = False
    source: str = ""
    mark: str = ""
    deviation: float | None = None
    normalised: float | None = None
    density: float | None = None
    stored_bytes: int | None = None
    coded_bytes: int | None = None
    backward: float | None = None
    backward_deviation: float | None = None
    arrivals: tuple[float, ...] = ()
    difference: float | None = None
    interval: Interval | None = None
    versus: float | None = None
    versus_interval: Interval | None = None
    ends_section: bool = False

    @property
    def is_reference(self) -> bool:
        """Whether the row is a model before merging."""
        return self.density is None and not self.source

    @property
    def standing(self) -> str:
        """Where TADrop stands to the method's own rule: before it, after it, or "".

        The empty word is said where TADrop takes the rule's place, and without TADrop.
        """
        if "tadrop" not in self.before or "sparsify" not in self.before:
            return ""
        ahead = self.before.index("tadrop") < self.before.index("sparsify")
        return "before" if ahead else "after"

    @property
    def reading(self) -> tuple[str, str, str, str, bool]:
        """What a reader sees of a row but its settings; rows may share it."""
        return self.method, self.title, self.variant, self.standing, self.below

    @property
    def measured(self) -> float:
        """The average of a row that has records, so that it is never None."""
        assert self.average is not None, f"{self.title} has no average"
        return self.average


def from_records(group: Sequence[Record], individual: Individual, below: bool) -> Row:
    """The row of records that differ in seeds alone, without comparisons.

    individual: the individual models' accuracies by task, of each training seed of which
    they are known
    below: whether the row of the same method without TADrop stands above it
    """
    config = group[0]["config"]
    by_record = list(map(accuracies, group))
    averages = list(map(average, group))
    row = Row(
        method=config["merge"]["name"],
        title=config["merge"]["title"],
        variant=variant(config),
        before=steps(config),
        below=below,
        keys=tuple(map(itemgetter("key"), group)),
        former=any(record.get("former") for record in group),
        values=_means(by_record) | _means(list(map(details, group))),
        average=mean(averages),
        deviation=stdev(averages) if len(group) > 1 else None,
        normalised=_normalised(group, individual),
        stored_bytes=max(map(itemgetter("stored_bytes"), group)),
        coded_bytes=max(map(coded_bytes, group), default=0) or None,
    )
    if is_reference(group[0]):
        return row
    if all("arrival" in record for record in group):
        row = _with_arrivals(row, group)
    scales = {record["selection"]["scale"] for record in group}
    return replace(
        row,
        density=float(mean(map(itemgetter("density"), group))),
        scales=tuple(sorted(scales)),
        data=data_seen(group[0]),
    )


def _with_arrivals(row: Row, group: Sequence[Record]) -> Row:
    """The row with what its records say of arrivals, in percent; means over orders."""
    backward = [100.0 * record["arrival"]["backward"] for record in group]
    by_record = [record["arrival"]["averages"] for record in group]
    averages: list[float] = []
    for values in zip(*by_record, strict=True):
        averages.append(100.0 * mean(values))
    return replace(
        row,
        backward=mean(backward),
        backward_deviation=stdev(backward) if len(group) > 1 else None,
        arrivals=tuple(averages),
    )


def averages_of(rows: Iterable[Row]) -> list[float]:
    """The averages of rows that have records."""
    return list(map(attrgetter("measured"), rows))


def steps(config: Config) -> tuple[str, ...]:
    """What a record's settings do to task vectors before the merge, in that order.

    The words are those of tadrop/results/identity.py: search, tadrop and sparsify.
    """
    return tuple(config["before"])


def is_reference(record: Record) -> bool:
    """Whether a record is of models before they are merged."""
    return record["config"]["merge"]["name"] in REFERENCES


def data_seen(record: Record) -> tuple[str, ...]:
    """What a run saw of the tasks' data before it was evaluated."""
    word = record["config"]["merge"].get("data", "none")
    seen = () if word == "none" else (word,)
    labels = "validation labels"  # what a choice of the scale on validation data sees
    if record["selection"]["split"] == "validation" and labels not in seen:
        seen += (labels,)
    return seen


def accuracies(record: Record) -> dict[str, float]:
    """Each task's accuracy in percent."""
    return {score["task"]: 100.0 * score["value"] for score in record["scores"]}


def coded_bytes(record: Record) -> int:
    """Bytes of a packed file whose bits are compressed; 0 where nothing was packed."""
    return record.get("found", {}).get("packed", {}).get("xz", 0)


def average(record: Record) -> float:
    """The mean of a record's accuracies over tasks, in percent."""
    return float(mean(accuracies(record).values()))


def details(record: Record) -> dict[str, float]:
    """Each further metric of a task in percent, by `task metric`."""
    values: dict[str, float] = {}
    for score in record["scores"]:
        for name, value in score.get("details", {}).items():
            values[f"{score['task']} {name}"] = 100.0 * value
    return values


def _means(by_record: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over records of every value that all of them have."""
    common = set.intersection(*map(set, by_record))
    means: dict[str, float] = {}
    for name in by_record[0]:
        if name in common:
            means[name] = float(mean(map(itemgetter(name), by_record)))
    return means


def _normalised(group: Sequence[Record], individual: Individual) -> float | None:
    """The mean ratio to the individual models in percent, over records and tasks."""
    ratios: list[float] = []
    for record in group:
        alone = individual.get(training_seed(record["config"]), {})
        if not alone or not all(alone.values()):
            return None
        for task, value in accuracies(record).items():
            ratios.append(value / alone[task])
    return mean(ratios) * 100


def without_seeds(config: Config, *left_out: str) -> str:
    """A configuration as text, without its seeds and some of its nodes.

    Runs with the same text are the same row.
    """
    kept: dict[str, Any] = {}
    for name, node in config.items():
        if name not in (*SEEDS, *left_out):
            kept[name] = _seedless(node)
    return json.dumps(kept, sort_keys=True)


def _seedless(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept: dict[str, Any] = {}
        for name, child in node.items():
            if name not in SEEDS:
                kept[name] = _seedless(child)
        return kept
    if isinstance(node, list | tuple):
        return list(map(_seedless, node))
    return node


def differing(configs: Sequence[Config]) -> Iterator[dict[str, Any]]:
    """Of each configuration the settings in which they differ, by dotted path."""
    by_config = list(map(leaves, configs))
    paths: list[str] = []
    for path in sorted(set().union(*by_config)):
        texts = {json.dumps(values.get(path)) for values in by_config}
        if len(texts) > 1 and path.split(".")[-1] not in SEEDS:
            paths.append(path)
    for values in by_config:
        yield dict(zip(paths, map(values.get, paths), strict=True))
