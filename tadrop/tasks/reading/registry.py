"""What is known of image tasks: one entry a task, in tadrop/assets/tasks/*.yaml or in a
file of the user's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from tadrop.types import TadropError

REGISTRIES = Path(__file__).parents[2] / "assets" / "tasks"


@dataclass(frozen=True)
class Entry:
    """One task's data and class names; assets/tasks/vision.yaml explains the words."""

    id: str | None = None
    folder: str | None = None
    config: str | None = None
    revision: str | None = None
    hub: str = ""
    tall: str = ""
    image: str = "image"
    label: str = "label"
    splits: Mapping[str, str] = field(default_factory=dict)
    holdout: float = 0.2
    train: int | None = None
    test: int | None = None
    classes: Sequence[str] | None = None
    templates: Sequence[str] = ("a photo of a {}.",)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@lru_cache
def registry(name: str) -> dict[str, Any]:
    """The entries of a registry: one of ours, or a YAML file."""
    import yaml

    file = REGISTRIES / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        file = Path(name)
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in REGISTRIES.glob("*.yaml")))
        raise TadropError(
            f"tasks.registry={name}: no such registry; there are {known}, "
            "or a YAML file of your own"
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TadropError(f"{file}: not a readable YAML file ({reason})") from error
    if not isinstance(content, dict):
        raise TadropError(f"{file}: not a registry, which maps tasks to their entries")
    return content


def entries(
    name: str,
    tasks: Iterable[str],
    changes: Mapping[str, Mapping[str, Any]],
    variants: Mapping[str, str],
) -> dict[str, Entry]:
    """The entries of these tasks in a registry.

    changes:  keys that the user gives, by task; a task that is not known is added
    variants: the variant that is asked for, by task
    """
    described = dict(registry(name))
    for task, change in changes.items():
        described[task] = {**described.get(task, {}), **change}
    return {task: _entry(task, described, variants) for task in tasks}


def _entry(
    task: str, described: Mapping[str, Any], variants: Mapping[str, str]
) -> Entry:
    """One entry. Raises TadropError for a task, variant or key that there is not."""
    if task not in described and "/" not in task:
        raise TadropError(
            f"no task is called {task!r}; there are {', '.join(described)}, "
            "or a data set's org/name"
        )
    node = dict(described.get(task, {"id": task}))
    if task in variants:
        choices = node.get("variants", {})
        variant = variants[task]
        if variant not in choices:
            names = ", ".join(choices) or "none"
            raise TadropError(
                f"task {task!r} has no variant {variant!r}; it has {names}"
            )
        node.update(choices[variant])
    allowed = {key.name for key in fields(Entry)}
    unknown = sorted(set(node) - allowed)
    if unknown:
        raise TadropError(
            f"task {task!r}: unknown key {unknown[0]!r}; "
            f"an entry has {', '.join(sorted(allowed))}"
        )
    short = task.split("/")[-1]
    return Entry(**{"hub": short, "tall": short, **node})


def reported(
    model: str, experts: Mapping[str, str], measured: Mapping[str, tuple[str, str]]
) -> dict[str, float]:
    """Results in percent of these experts that their authors report, by task.

    experts:  where each task's expert is; one that is not the authors' is left out
    measured: the split and the metric here, by task; a task that the authors measured
              on another split, or by another metric than accuracy, is left out
    """
    numbers: dict[str, float] = {}
    for source in registry("published").values():
        places, splits = source.get("experts"), source.get("splits", {})
        metrics = source.get("metrics", {})
        for task, number in source.get(model, {}).items():
            if places is None or task not in measured:
                continue
            place = places[task] if isinstance(places, dict) else places
            if experts.get(task) != place.format(task=task):
                continue
            split, metric = measured[task]
            same = (splits.get(task, split), metrics.get(task, "accuracy"))
            if same == (split, metric):
                numbers[task] = number
    return numbers
