"""What can be said of a configuration before anything is read."""

from typing import Any

from tadrop.app.runs import arriving, build
from tadrop.app.runs.opening import device_of, dtype_of
from tadrop.app.schema import telling
from tadrop.app.schema.only_merges import READING
from tadrop.app.schema.values import resolved
from tadrop.evaluation.selection import check_rule
from tadrop.results import identity
from tadrop.types import TadropError

# What a merge row may say under `data:`, and the split that it then reads beside the one
# that is reported. Test inputs are those of the reported split.
DATA = {
    "none": None,
    "validation labels": "validation",
    "training inputs": "train",
    "training labels": "train",
    "test inputs": None,
}


def check(cfg: Any) -> None:
    """Checks every word, then builds all that only needs the configuration.

    What the words mean together shows here, before anything is read. Raises TadropError.
    """
    telling.check_composed(cfg)
    check_rule(cfg.select, cfg.tuned)
    device_of(cfg.device)
    dtype_of(cfg.dtype)
    identity.steps(resolved(cfg))
    build.rule(cfg.sparsify)
    build.tadrop(cfg)
    model, tasks = build.model(cfg.model), build.tasks(cfg.tasks)
    if cfg.evaluate:
        model.bound(tasks)
    build.part(cfg.merge.method)
    arriving.check(cfg)
    for word in READING:
        build.part(cfg.merge.get(word))


def split_of(data: str) -> str | None:
    """The split that a merge row's `data:` sees before it is evaluated;
    None for none.
    """
    if data not in DATA:
        raise TadropError(
            f"merge.data is {data!r}; it must be one of {', '.join(DATA)}"
        )
    return DATA[data]
