"""Tasks of lm-evaluation-harness, for merged language models (extra `lm-eval`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tadrop.storage.torch_files.refusal import first_line
from tadrop.types import TadropError


def scores(folder: Path, tasks: Sequence[str], limit: int) -> dict[str, str]:
    """`metric +- standard error` of every task, by its name.

    Raises TadropError without the harness.
    """
    try:
        import lm_eval  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise TadropError(
            "--tasks needs lm-evaluation-harness: pip install -e '.[lm-eval]'"
        ) from error
    try:
        results: dict[str, Any] = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(folder)},
            tasks=list(tasks),
            limit=limit,
        )
    # The harness raises both for a task that it does not know.
    except (KeyError, ValueError) as error:
        raise TadropError(f"--tasks {','.join(tasks)}: {first_line(error)}") from error
    told: dict[str, str] = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, _, kind = key.partition(",")
            if isinstance(value, float) and not metric.endswith("_stderr"):
                spread = values.get(f"{metric}_stderr,{kind}")
                about = f" +- {spread:.4f}" if isinstance(spread, float) else ""
                told[f"{task} {metric}"] = f"{value:.4f}{about}"
    return told
