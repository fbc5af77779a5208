"""What stands below a table: its metric, its data, and what its columns mean."""

from collections.abc import Sequence

from tadrop.results.identity import training_seed
from tadrop.results.record import Record
from tadrop.results.row import is_reference
from tadrop.results.store import former


def caption(records: Sequence[Record]) -> str:
    """The caption of a table of these records."""
    protocol = records[0]["protocol"]
    count = sum(score["count"] for score in records[0]["scores"])
    limit = ""  # which examples a limit leaves is said in tadrop/tasks
    if protocol["limit"] is not None:
        limit = f" (at most {protocol['limit']} a task)"
    return (
        f"{protocol['metric']} in percent, {protocol['split']} split, "
        f"{count} examples{limit}, protocol {protocol['tasks']}. "
        f"{_packaging(records)}"
        "norm: mean over tasks of the ratio to the individual model. "
        "diff: to the row without TADrop. "
        "vs uniform: to the same method with uniform pruning at equal density. "
        f"{_covered(records)}"
        "kept: fraction of task-vector entries not zero when merged."
        f"{_former(records)}"
    )


def _covered(records: Sequence[Record]) -> str:
    """A sentence on intervals and what they are over."""
    sets = len({training_seed(record["config"]) for record in records})
    if sets == 1:
        return (
            "[a, b]: 95 % interval, paired bootstrap over test examples; "
            "it does not cover seeds or tasks. "
        )
    return (
        f"Mean over {sets} sets of models, each trained from its own seed; ±: standard "
        "deviation over them. [a, b]: 95 % interval, paired bootstrap over sets of "
        f"models, tasks and test examples; of {sets} sets it tends to be too narrow. "
    )


def _former(records: Sequence[Record]) -> str:
    """A sentence on rows that were made with former formulas, where there are any."""
    marked = any(record.get("former") for record in records)
    return f" {former.CAPTION}" if marked else ""


def _packaging(records: Sequence[Record]) -> str:
    """A sentence on how q, k and v are packaged;
    nothing of models that have one way.
    """
    titles: dict[str, list[str]] = {"split": [], "fused": []}
    for record in records:
        config = record["config"]
        word = config["model"].get("packaging")
        title = config["merge"]["title"]
        if word in titles and not is_reference(record) and title not in titles[word]:
            titles[word].append(title)
    split, fused = titles.values()
    if split and fused:
        rows = ", ".join(fused)
        return f"q, k and v: one tensor (fused) in {rows}; else three (split). "
    if fused:
        return "q, k and v: one tensor (fused). "
    return "q, k and v: three tensors (split). " if split else ""
