"""The best merge of some checkpoints on one's own data, found with Optuna.

A trial draws a method, its lambda, weights where the method takes them, and TADrop with
its quantiles or not; merges into a folder that is thrown away again; and measures it. The
study is a file and goes on where it was left.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tadrop.app.judging.comparing import check_whole
from tadrop.app.judging.measuring import Measured, measure
from tadrop.app.judging.study import fixed_trial, open_study
from tadrop.app.merging.listing import has_weights
from tadrop.app.merging.request import Request
from tadrop.app.merging.running import located, run
from tadrop.types import TadropError

METHODS = ("average", "task_arithmetic", "ties", "dare_ties", "magmax")


@dataclass(frozen=True)
class Search:
    """What is searched.

    request: the merge without what a trial draws
    data:    what every trial is measured on, limit examples of it
    folder:  of the study
    """

    request: Request
    methods: Sequence[str]
    data: Path
    limit: int
    folder: Path
    seed: int = 0


def drawn(search: Search, trial: Any, names: Sequence[str]) -> Request:
    """The merge of a trial. names: of the experts"""
    method = trial.suggest_categorical("method", list(search.methods))
    model = dict(search.request.model)
    settings = list(search.request.settings)
    scale = trial.suggest_float(f"{method}.scale", 0.1, 2.0)
    if has_weights(method):
        weights: dict[str, float] = {}
        for name in names:
            weights[name] = trial.suggest_float(f"weight.{name}", 0.05, 1.0)
        model["weights"] = weights
    tadrop = trial.suggest_categorical("tadrop", [False, True])
    if tadrop:
        low = trial.suggest_float("q_lo", 0.05, 0.6)
        high = trial.suggest_float("q_hi", 0.65, 0.99)
        settings += [f"tadrop.q_lo={low}", f"tadrop.q_hi={high}"]
    return replace(
        search.request,
        method=method,
        scale=scale,
        tadrop=tadrop,
        settings=settings,
        model=model,
    )


def judged(search: Search, request: Request) -> Measured:
    """Merges into a folder that does not last, and measures it."""
    with tempfile.TemporaryDirectory(dir=search.folder) as place:
        out = Path(place) / "merge"
        # A relative path of the recipe would mean nothing there, and none is kept.
        run(replace(request, out=str(out)))
        check_whole(out)
        return measure(out, search.data, out, search.limit)


def tuned(
    search: Search, trials: int, tell: Callable[[str], None]
) -> tuple[Request, list[str]]:
    """The best merge of so many trials in all, and lines of a leaderboard.

    Raises TadropError without Optuna, and for a study of other models or data.
    """
    study = _study(search)
    names = list(located(search.request).experts)

    def objective(trial: Any) -> float:
        request = drawn(search, trial, names)
        found = judged(search, request)
        trial.set_user_attr("shown", found.shown())
        tell(f"{trial.number + 1}/{trials} {_line(trial.params)}: {found.shown()}")
        return found.score

    done = _finished(study)
    study.optimize(objective, n_trials=max(trials - len(done), 0))
    best = drawn(search, fixed_trial(study.best_params), names)
    return best, _leaderboard(study)


def _study(search: Search) -> Any:
    study = open_study("merge", search.folder, search.seed)
    about = f"{search.request.base} {search.request.experts} {search.data}"
    about += f" {list(search.methods)} {search.limit}"
    if study.user_attrs.get("about", about) != about:
        raise TadropError(
            f"{search.folder} holds a study of other models, methods or data; "
            "name another --study, or delete it"
        )
    study.set_user_attr("about", about)
    return study


def _finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.value is not None]


def _leaderboard(study: Any) -> list[str]:
    """The best trial of every method, the best one first."""
    best: dict[str, Any] = {}
    for trial in sorted(_finished(study), key=lambda one: -one.value):
        best.setdefault(trial.params["method"], trial)
    lines = [f"{'method':<20}{'best':>10}   with"]
    for method, trial in best.items():
        shown = trial.user_attrs["shown"]
        lines.append(f"{method:<20}{shown:>10}   {_line(trial.params)}")
    return lines


def _line(params: dict[str, Any]) -> str:
    parts: list[str] = []
    for name, value in params.items():
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        parts.append(f"{name}={shown}")
    return " ".join(parts)
