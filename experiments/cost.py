"""What a recipe would take: the runs that have no record yet, their time, and the checkpoints that are not here.

The time of a run is that of the records most like it: same model, tasks, selection and method; else the same without
the method; else it is not known. `select=grid` is a different run from `select=fixed`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import recipes
from tadrop import pipeline, record
from tadrop.record import Record
from tadrop.types import TadropError


def _alike(config: Mapping[str, Any], with_method: bool) -> tuple[object, ...]:
    names = tuple(config["tasks"]["names"])
    method = (config["merge"]["name"], config["tadrop"] is None) if with_method else ()
    return (config["model"]["name"], names, config["limit"], config["select"], *method)


def seconds(config: Mapping[str, Any], records: Sequence[Record]) -> float | None:
    """The expected time of a run; None where no record is like it."""
    for with_method in (True, False):
        wanted = _alike(config, with_method)
        like = [sum(r["seconds"].values()) for r in records if _alike(r["config"], with_method) == wanted]
        if like:
            return mean(like)
    return None


def missing_checkpoints(config: Mapping[str, Any]) -> list[str]:
    """What opening the base and the experts complains of, one line each."""
    backbone, lines = instantiate(config["model"]), []
    for opener in (backbone.open_base, *(lambda t=task: backbone.open_expert(t) for task in config["tasks"]["names"])):
        try:
            opener()
        except TadropError as error:
            lines.append(str(error))
    return lines


def dry_run(recipe: str, folder: Path, extra: Sequence[str] = ()) -> str:
    """The report of --dry-run."""
    done = record.read_all(folder) if folder.is_dir() else []
    owed: dict[str, tuple[str, float | None]] = {}
    total = set()
    for cfg, _ in recipes.runs(recipe, extra):
        config = OmegaConf.to_container(cfg, resolve=True)
        key = record.key(config)
        total.add(key)
        if not record.path(folder, config).exists():
            seed = "" if record.science(config)["seed"] is None else f", seed {config['seed']}"
            owed.setdefault(key, (pipeline.label(config) + seed, seconds(config, done)))
    lines = [
        f"{recipe}: {recipes.about(recipe)}",
        f"{len(total)} runs, {len(total) - len(owed)} recorded, {len(owed)} owed",
    ]
    lines += [f"  {key}  {label:<36}{_time(cost)}" for key, (label, cost) in owed.items()]
    known = [cost for _, cost in owed.values() if cost is not None]
    if owed:
        unknown = f", and {len(owed) - len(known)} runs like none that is recorded" if len(known) < len(owed) else ""
        lines.append(f"expected: {_time(sum(known)).strip()} on one process{unknown}")
    lines += _needs(recipe, extra)
    return "\n".join(lines)


def _needs(recipe: str, extra: Sequence[str]) -> list[str]:
    """Checkpoints that are not at hand; the downloads a run would begin with."""
    models = {str(cfg.model) + str(cfg.tasks.names): cfg for cfg in recipes.configs(recipe, extra)}
    lines = []
    for cfg in models.values():
        lines += missing_checkpoints(OmegaConf.to_container(cfg, resolve=True))
    if not lines:
        return ["checkpoints: all at hand, nothing to download"]
    return [f"to provide or download: {len(lines)}", *(f"  {line}" for line in dict.fromkeys(lines))]


def _time(cost: float | None) -> str:
    if cost is None:
        return "  ?"
    return f"  {cost:.0f} s" if cost < 120 else f"  {cost / 60:.0f} min" if cost < 7200 else f"  {cost / 3600:.1f} h"
