"""What a recipe would take: the runs that have no record yet, their time, and what is
not here.

    python run.py +experiment=table_glyph30 --dry-run

The time of a run is that of the records most like it: same model, tasks, selection and
method; else the same without the method; else it is not known. `select=grid` is a
different run from `select=fixed`. A folder that has none like it is helped out by the
records that come with the project.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from tadrop.app import boards as recipes
from tadrop.app.console import out
from tadrop.app.places import CONF, RECORDS
from tadrop.app.runs import build
from tadrop.results import identity, record
from tadrop.results.naming import label
from tadrop.results.record import Record
from tadrop.types import TadropError

SHIPPED = RECORDS


def _alike(config: Mapping[str, Any], with_method: bool) -> tuple[object, ...]:
    names = tuple(config["tasks"]["names"])
    method = (config["merge"]["name"], identity.tadrop(config) is None) if with_method else ()
    return (config["model"]["name"], names, config["limit"], config["select"], *method)


def seconds(config: Mapping[str, Any], records: Sequence[Record]) -> float | None:
    """The expected time of a run; None where no record is like it."""
    for with_method in (True, False):
        wanted = _alike(config, with_method)
        like = [
            sum(r["seconds"].values())
            for r in records
            if _alike(r["config"], with_method) == wanted
        ]
        if like:
            return mean(like)
    return None


def missing(config: Mapping[str, Any]) -> list[str]:
    """What opening the base, the experts and the data sets complains of, one line each."""
    suite = build.tasks(config["tasks"])
    backbone, lines = instantiate(config["model"]).bound(suite), []
    openers = [
        backbone.open_base,
        *(partial(backbone.open_expert, task) for task in suite.names),
    ]
    for opener in openers:
        try:
            opener()
        except TadropError as error:
            lines.append(str(error))
    return lines + suite.needs()


def dry_run(recipe: str, folder: Path, extra: Sequence[str] = ()) -> str:
    """The report of --dry-run."""
    known = [
        record.read_all(each)
        for each in dict.fromkeys((folder.resolve(), SHIPPED.resolve()))
        if each.is_dir()
    ]
    owed: dict[str, tuple[str, float | None]] = {}
    total = set()
    for config, _ in recipes.runs(recipe, extra):
        key = identity.key(config)
        total.add(key)
        if not record.path(folder, config).exists():
            seed = (
                ""
                if identity.settings(config)["seed"] is None
                else f", seed {config['seed']}"
            )
            times = (seconds(config, records) for records in known)
            owed.setdefault(
                key,
                (
                    label(config) + seed,
                    next((t for t in times if t is not None), None),
                ),
            )
    lines = [
        f"{recipe}: {recipes.about(recipe)}",
        f"{len(total)} runs, {len(total) - len(owed)} recorded, {len(owed)} owed",
    ]
    lines += [
        f"  {key}  {label:<36}{_time(cost)}" for key, (label, cost) in owed.items()
    ]
    known = [cost for _, cost in owed.values() if cost is not None]
    if owed:
        unknown = (
            f", and {len(owed) - len(known)} runs like none that is recorded"
            if len(known) < len(owed)
            else ""
        )
        lines.append(
            f"expected: {_time(sum(known) if known else None).strip()} on one process{unknown}"
        )
    lines += _needs(recipe, extra)
    return "\n".join(lines)


def _needs(recipe: str, extra: Sequence[str]) -> list[str]:
    """What is not at hand, and what the model's file says about its size."""
    models = {
        str(cfg.model) + str(cfg.tasks.names): cfg
        for cfg in recipes.configs(recipe, extra)
    }
    lines = []
    for cfg in models.values():
        lines += missing(OmegaConf.to_container(cfg, resolve=True))
    if not lines:
        return ["checkpoints and data: all at hand, nothing to download"]
    about = {
        recipes.comment(CONF / "model" / f"{cfg.model.name}.yaml")
        for cfg in models.values()
    }
    return [
        f"to provide or download: {len(lines)}; {' '.join(about)}",
        *(f"  {line}" for line in dict.fromkeys(lines)),
    ]


def _time(cost: float | None) -> str:
    if cost is None:
        return "  ?"
    return (
        f"  {cost:.0f} s"
        if cost < 120
        else f"  {cost / 60:.0f} min"
        if cost < 7200
        else f"  {cost / 3600:.1f} h"
    )


def tell(recipe: str, folder: Path, extra: Sequence[str]) -> None:
    """Prints the report; looking must not download."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    out.print(dry_run(recipe, folder, extra), soft_wrap=True, markup=False)
