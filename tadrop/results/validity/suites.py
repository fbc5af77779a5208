"""The tables whose rankings are compared: published ones, and leaderboards of ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    """

    model: str
    checkpoints: str
    tasks: int
    averages: Averages
    levels: Averages

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
    stands for it.
    """
    grouped: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for fact in facts:
        average = fact.summaries.get("average")
        if fact.model in BACKBONES and fact.tasks in COUNTS and average is not None:
            family = grouped.setdefault((fact.model, fact.checkpoints, fact.tasks), {})
            if fact.merge:
                family.setdefault(fact.merge, []).append(average)
    suites: list[Suite] = []
    for (model, checkpoints, tasks), values in grouped.items():
        averages = {name: mean(numbers) for name, numbers in values.items()}
        suites.append(_suite(BACKBONES[model], checkpoints, COUNTS[tasks], averages))
    return sorted(suites, key=_place)


def _place(suite: Suite) -> tuple[int, int, str]:
    """Sorts by the number of tasks, then from the smallest backbone on."""
    return suite.tasks, list(BACKBONES.values()).index(suite.model), suite.checkpoints


def own_suites(tables: Mapping[str, Table]) -> list[Suite]:
    """A suite of each leaderboard: the averages of its plain rows."""
    suites: list[Suite] = []
    for file, table in tables.items():
        averages: dict[str, float] = {}
        for row in table.rows:
            if row.method and not row.variant and row.average is not None:
                averages.setdefault(row.method, row.average)
        if file.startswith("leaderboard_") and averages:
            model = table.title.partition(",")[0]
            suites.append(_suite(model, "", len(table.tasks), averages))
    return sorted(suites, key=_count)


def _count(suite: Suite) -> int:
    return suite.tasks


def _suite(model: str, checkpoints: str, tasks: int, values: Averages) -> Suite:
    levels: dict[str, float] = {}
    averages: dict[str, float] = {}
    for name, value in values.items():
        kind = levels if name in REFERENCES else averages
        kind[name] = value
    return Suite(model, checkpoints, tasks, averages, levels)
