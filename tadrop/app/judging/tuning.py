"""The best merge of some checkpoints on one's own data, found with Optuna.

A trial draws a method, its lambda, weights where the method takes them, and TADrop with
its quantiles or not; merges into a folder that is thrown away again; and measures it. The
study is a file and goes on where it was left.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tadrop.app.console import err, stages
from tadrop.app.judging.comparing import check_whole
from tadrop.app.judging.measuring import SHOWN, Measured, measure
from tadrop.app.judging.study import fixed_trial, open_study
from tadrop.app.merging.inputs import located
from tadrop.app.merging.listing import has_weights
from tadrop.app.merging.request import Request
from tadrop.app.merging.running import run
from tadrop.storage.atomic.hidden import NEW, new_folder, sweep
from tadrop.storage.unfinished import remove
from tadrop.types import TadropError

TRIAL = "trial"  # the folder of a trial's merge, which does not last


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


def judged(search: Search, request: Request, silent: bool = False) -> Measured:
    """Merges into a folder that does not last, and measures it.

    silent: what is doubtful about the checkpoints was said before
    """
    trial = search.folder / TRIAL
    sweep(trial, NEW)
    with new_folder(trial, NEW) as place:
        try:
            out = place / "merge"
            # A relative path of the recipe would mean nothing there; none is kept.
            run(replace(request, out=str(out)), silent=silent)
            check_whole(out)
            with stages(SHOWN) if err.is_terminal else nullcontext():
                return measure(out, search.data, out, search.limit)
        finally:
            remove(place)


def tuned(
    search: Search, trials: int, tell: Callable[[str], None]
) -> tuple[Request, list[str]]:
    """The best merge of so many trials in all, and lines of a leaderboard.

    Raises TadropError without Optuna, for a study of other models or data, and where no
    trial came to a number.
    """
    study = _study(search)
    names = list(located(search.request).experts)
    before = len(_finished(study))
    if before:
        tell(f"{before} of {trials} trials were done before")

    def objective(trial: Any) -> float:
        count = len(_finished(study))
        request = drawn(search, trial, names)
        found = judged(search, request, silent=count > before)
        trial.set_user_attr("shown", found.shown())
        tell(f"{count + 1}/{trials}  {found.shown()}  {', '.join(_told(trial.params))}")
        return found.score

    study.optimize(objective, n_trials=max(trials - before, 0))
    if not _finished(study):
        raise TadropError(
            f"{search.folder}: no trial came to a number; is {search.data} what these "
            "models are about?"
        )
    best = drawn(search, fixed_trial(study.best_params), names)
    return best, [*_leaderboard(study), *_shares(study.best_params, names)]


def _study(search: Search) -> Any:
    study = open_study("merge", search.folder, search.seed)
    about = _about(search)
    if study.user_attrs.get("about", about) != about:
        raise TadropError(
            f"{search.folder} holds a study of other models, methods or data; "
            "name another --study, or delete it"
        )
    study.set_user_attr("about", about)
    return study


def _about(search: Search) -> str:
    """What makes numbers of trials comparable, from whatever folder it is named."""
    places = located(search.request)
    words: list[str] = []
    for name, one in (("base", places.base), *places.experts.items()):
        if one is not None:
            where = one.path.resolve() if one.repository is None else one.shown
            words.append(f"{name}={where}")
    private = search.request.model.get("private", ())
    words += [str(search.data.resolve()), *search.methods, *map(str, private)]
    return " ".join([*words, str(search.limit)])


def _finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.value is not None]


def _leaderboard(study: Any) -> list[str]:
    """The best trial of every method, the best one first."""
    best: dict[str, Any] = {}
    for trial in sorted(_finished(study), key=lambda one: -one.value):
        best.setdefault(trial.params["method"], trial)
    lines = [f"{'best':>10}   of every method"]
    for trial in best.values():
        told = ", ".join(_told(trial.params))
        lines.append(f"{trial.user_attrs['shown']:>10}   {told}")
    return lines


def _told(params: Mapping[str, Any]) -> list[str]:
    """A trial in words, but for its weights."""
    method = params["method"]
    told = [method, f"scale {params[f'{method}.scale']:.2f}"]
    if params["tadrop"]:
        told.append(f"TADrop {params['q_lo']:.2f} to {params['q_hi']:.2f}")
    return told


def _shares(params: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The weights of the best trial, where its method takes some."""
    shares: list[str] = []
    for name in names:
        if has_weights(params["method"]):
            shares.append(f"{name} {params[f'weight.{name}']:.2f}")
    return [f"weights of the best: {', '.join(shares)}"] if shares else []
