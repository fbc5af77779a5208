"""What tests of statistics share."""

from baselines import fisher
from tadrop.evaluation.statistics import Measurement


def merged_names(bench):
    return tuple(sorted(bench.base.tensors))


def on_task(bench, task="t0"):
    """The module with a task's own weights and head in it."""
    bench.load(bench.expert(task, merged_names(bench)))
    bench.equip(task)
    return bench.module


def fisher_measurement(**changes):
    return Measurement(
        **(
            {"collect": fisher.exact, "split": "train", "examples": 8, "batch": 4}
            | changes
        )
    )
