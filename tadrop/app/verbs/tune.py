"""Tunes lambda, quantiles or any other knob with Optuna, on validation data; the study
is kept and goes on.

    tadrop tune NAME merge=ties 'merge.scale=interval(0.2,2)' 'tadrop.q_lo=interval(0.1,0.8)'
    tadrop tune NAME ... --trials 60        goes on to sixty trials with the same command

What is searched is written as Hydra's sweepers write it: interval(A,B),
range(A,B[,STEP]), or a list of choices a,b,c; everything else holds for all trials. The
score is the mean over tasks of each task's metric on its validation split. studies/NAME
holds the study (study.journal, for optuna.load_study) and a record of every trial. The
command printed at the end runs the best trial on test data (`tuned=NAME`: its record
says who chose its values). The search is TPE, seeded by `seed`. Trials whose values do
not go together (q_lo above q_hi) are pruned. Needs the extra `optuna`.

Why not hydra-optuna-sweeper: it holds Optuna to versions before 3, which cannot keep a
study in a file with today's SQLAlchemy.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tadrop.app.console import err, out
from tadrop.app.judging.study import open_study
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs.checks import check
from tadrop.app.runs.run import run
from tadrop.app.schema.composing import checked
from tadrop.types import TadropError


def split(words: Sequence[str]) -> tuple[list[str], dict[str, Override]]:
    """The overrides that hold for all trials, and what is searched, by key.

    Raises TadropError for words that are neither.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise TadropError(str(error).splitlines()[0]) from error
    fixed: list[str] = []
    searched: dict[str, Override] = {}
    for word, override in zip(words, overrides, strict=True):
        if override.is_sweep_override():
            searched[override.key_or_group] = override
        else:
            fixed.append(word)
    if not searched:
        raise TadropError(
            "nothing to search: write a knob as KEY=interval(A,B), "
            "say 'merge.scale=interval(0,2)'"
        )
    return fixed, searched


def suggest(trial: Any, key: str, override: Override) -> Any:
    """This trial's value of a knob."""
    space: Any = override.value()
    if isinstance(space, IntervalSweep):
        low, high = space.start, space.end
        bounds_are_whole = isinstance(low, int) and isinstance(high, int)
        if bounds_are_whole and "int" in space.tags:
            return trial.suggest_int(key, low, high)
        return trial.suggest_float(key, float(low or 0), float(high or 0))
    if isinstance(space, RangeSweep):
        return trial.suggest_float(key, space.start, space.stop, step=space.step)
    if isinstance(space, ChoiceSweep):
        return trial.suggest_categorical(key, list(override.sweep_iterator()))
    raise TadropError(
        f"{key}: this kind of sweep cannot be searched; "
        "use interval, range or a list of choices"
    )


def objective(
    trial: Any, fixed: Sequence[str], searched: Mapping[str, Override], folder: Path
) -> float:
    """The mean over tasks on validation data of one run, whose record is kept."""
    from optuna import TrialPruned  # pyright: ignore[reportMissingImports]  # an extra

    words = list(fixed)
    for key, override in searched.items():
        words.append(f"{key}={suggest(trial, key, override)}")
    words += ["split=validation", "select=fixed"]
    cfg = compose("config", [*words, f"paths.records={folder / 'records'}"])
    try:
        check(cfg)
    except Exception as error:  # Hydra wraps what a node complains of
        raise TrialPruned(str(error.__cause__ or error)) from error
    record = run(cfg)
    trial.set_user_attr("record", record["key"])
    return sum(score["value"] for score in record["scores"]) / len(record["scores"])


def tune(name: str, words: Sequence[str], trials: int, folder: Path) -> Any:
    """Runs trials until there are that many; returns the study."""
    fixed, searched = split(words)
    checked(words, sweeping=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", fixed)
        search = OmegaConf.create({"fixed": fixed, "searched": sorted(words)})
        command = OmegaConf.to_yaml(search)
        study = open_study(name, folder, cfg.seed)
        if study.user_attrs.setdefault("command", command) != command:
            raise TadropError(
                f"{folder} holds a study of another search: "
                "choose another NAME, or delete it"
            )
        study.set_user_attr("command", command)

        def tell(study: Any, trial: Any) -> None:
            value = "pruned" if trial.value is None else f"{100 * trial.value:.2f}"
            line = f"{trial.number + 1}/{trials} {trial.params}: {value}"
            err.print(line, soft_wrap=True)

        study.optimize(
            lambda trial: objective(trial, fixed, searched, folder),
            n_trials=max(trials - len(study.trials), 0),
            callbacks=[tell],
        )
    return study


def main() -> None:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the study")
    parser.add_argument(
        "overrides",
        nargs="+",
        help="as for run.py; KEY=interval(A,B) and the like are searched",
    )
    parser.add_argument(
        "--trials", type=int, default=30, help="in all, with those already made"
    )
    parser.add_argument("--studies", type=Path, default=Path("studies"))
    options = parser.parse_intermixed_args()
    folder = options.studies / options.name
    with told_in_one_line():
        study = tune(options.name, options.overrides, options.trials, folder)
        if not any(trial.value is not None for trial in study.trials):
            raise TadropError("no trial gave a score: see the pruned values above")
    best = study.best_trial
    words, _ = split(options.overrides)
    for key, value in best.params.items():
        words.append(f"{key}={value}")
    score = f"{100 * best.value:.2f}, record {best.user_attrs['record']}"
    count = len(study.trials)
    out.print(f"best of {count} trials on validation data: {score}", soft_wrap=True)
    out.print(f"python run.py {' '.join(words)} tuned={options.name}", soft_wrap=True)


if __name__ == "__main__":
    main()
