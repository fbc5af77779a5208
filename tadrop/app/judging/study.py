"""A study of Optuna's in a folder, which goes on where it was left."""

from pathlib import Path
from typing import Any

from tadrop.errors import TadropError

JOURNAL = "study.journal"


def open_study(name: str, folder: Path, seed: int) -> Any:
    """The study in a folder, new or as it was left.

    Raises TadropError without Optuna.
    """
    try:
        # Optuna is an extra, which the type checker may not find.
        import optuna  # pyright: ignore[reportMissingImports]
        from optuna.storages import (  # pyright: ignore[reportMissingImports]
            JournalStorage,
        )
        from optuna.storages.journal import (  # pyright: ignore[reportMissingImports]
            JournalFileBackend,
        )
    except ImportError as error:
        raise TadropError("tuning needs Optuna: pip install -e '.[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )
    # Without the number of trials in it, a study that goes on would draw the same again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def fixed_trial(values: dict[str, Any]) -> Any:
    """A trial that draws these values, by their names."""
    from optuna.trial import FixedTrial  # pyright: ignore[reportMissingImports]

    return FixedTrial(values)
