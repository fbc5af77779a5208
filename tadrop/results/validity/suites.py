"""The tables whose rankings are compared: published ones, and leaderboards of ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import mean

from tadrop.results.published import Published
from tadrop.results.table import Table
from tadrop.results.validity.agreement import Averages

# Rows that say where a suite lies, not how methods rank.
REFERENCES = ("individual", "pretrained", "mtl")
BACKBONES = {
    "vit_b32": "ViT-B/32",
    "vit_b16": "ViT-B/16",
    "vit_l14": "ViT-L/14",
}
# The published task sets, and how many tasks each has.
COUNTS = {"vision8": 8, "vision14": 14, "vision20": 20}


@dataclass(frozen=True)
class Suite:
    """One table of averages.

    model: the backbone as papers write it, or the name of ours
    checkpoints: whose fine-tuned models they are; "" for ours
    averages: of the methods, in percent
    levels: of the references, in percent
    chosen: of a published table the methods whose scale was chosen on validation data
    tuned: of ours the averages of methods at a scale that was chosen so
    """

    model: str
    checkpoints: str
    tasks: int
    averages: Averages
    levels: Averages
    chosen: frozenset[str] = frozenset()
    tuned: Averages = field(default_factory=dict)

    def beside(self, other: "Suite") -> Averages:
        """The averages to compare with another table: tuned where it has tuned them."""
        averages = dict(self.averages)
        for name in self.averages:
            if name in other.chosen and name in self.tuned:
                averages[name] = self.tuned[name]
        return averages

    @property
    def name(self) -> str:
        """How the page calls it."""
        whose = f", {self.checkpoints}" if self.checkpoints else ""
        return f"{self.model}{whose}, {self.tasks} tasks"

    def share(self, method: str) -> float | None:
        """How far a method goes from the base to the single models, 0 to 1.

        None where the table does not have all three.
        """
        low, high = self.levels.get("pretrained"), self.levels.get("individual")
        value = self.averages.get(method)
        if low is None or high is None or value is None:
            return None
        return (value - low) / (high - low)


def published_suites(facts: Iterable[Published]) -> list[Suite]:
    """The published tables of CLIP's backbones, by backbone, family and task set.

    Where sources print several numbers of a method on the same checkpoints, their mean
    stands for it; its scale counts as chosen where all of them chose it.
    """
    grouped: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    fixed: set[tuple[str, str, str, str]] = set()
    for fact in facts:
        average = fact.summaries.get("average")
        if fact.model in BACKBONES and fact.tasks in COUNTS and average is not None:
            table = (fact.model, fact.checkpoints, fact.tasks)
            family = grouped.setdefault(table, {})
            if fact.merge:
                family.setdefault(fact.merge, []).append(average)
            if not fact.selected:
                fixed.add((*table, fact.merge))
    suites: list[Suite] = []
    for table, values in grouped.items():
        model, checkpoints, tasks = table
        averages = {name: mean(numbers) for name, numbers in values.items()}
        suite = _suite(BACKBONES[model], checkpoints, COUNTS[tasks], averages)
        chosen = {name for name in values if (*table, name) not in fixed}
        suites.append(replace(suite, chosen=frozenset(chosen)))
    return sorted(suites, key=_place)


def _place(suite: Suite) -> tuple[int, int, str]:
    """Sorts by the number of tasks, then from the smallest backbone on."""
    return suite.tasks, list(BACKBONES.values()).index(suite.model), suite.checkpoints


def own_suites(tables: Mapping[str, Table]) -> list[Suite]:
    """A suite of each leaderboard: the averages of its plain rows, and of tuned ones."""
    tuned: dict[tuple[str, int], Averages] = {}
    for table in _named(tables, "tuned_"):
        tuned[_model(table), len(table.tasks)] = _plain(table)
    suites: list[Suite] = []
    for table in _named(tables, "leaderboard_"):
        model, tasks = _model(table), len(table.tasks)
        suite = _suite(model, "", tasks, _plain(table))
        suites.append(replace(suite, tuned=tuned.get((model, tasks), {})))
    return sorted(suites, key=_count)


def _named(tables: Mapping[str, Table], beginning: str) -> list[Table]:
    """The tables whose file's name begins so, and that have a plain row."""
    found: list[Table] = []
    for file, table in tables.items():
        if file.startswith(beginning) and _plain(table):
            found.append(table)
    return found


def _model(table: Table) -> str:
    return table.title.partition(",")[0]


def _plain(table: Table) -> dict[str, float]:
    """The averages of a table's rows without TADrop, by method."""
    averages: dict[str, float] = {}
    for row in table.rows:
        if row.method and not row.variant and row.average is not None:
            averages.setdefault(row.method, row.average)
    return averages


def _count(suite: Suite) -> int:
    return suite.tasks


def _suite(model: str, checkpoints: str, tasks: int, values: Averages) -> Suite:
    levels: dict[str, float] = {}
    averages: dict[str, float] = {}
    for name, value in values.items():
        kind = levels if name in REFERENCES else averages
        kind[name] = value
    return Suite(model, checkpoints, tasks, averages, levels)
