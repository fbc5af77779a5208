"""One task's whole checkpoint out of a compact merge, whose recipe names the base."""

from dataclasses import replace
from pathlib import Path

from tadrop.app.merging.recipes import recipe
from tadrop.app.merging.request import configuration
from tadrop.app.runs.build import resolved
from tadrop.app.runs.opening import open_stream
from tadrop.merging.compact import COMPACT, scale
from tadrop.merging.export import expanded
from tadrop.merging.source import Plan, dtype_of
from tadrop.types import TadropError


def unpack(
    out: Path, task: str, target: Path, base: str | None, overwrite: bool
) -> int:
    """Writes a task's checkpoint into a folder; returns its bytes.

    Raises TadropError where OUT is no compact merge with a recipe, or has no such task.
    """
    if not (out / COMPACT).is_file():
        raise TadropError(
            f"{out}: holds no {COMPACT}; a merge that all tasks share loads as it is"
        )
    request = recipe.read_recipe(out / recipe.NAME, str(target))
    if base is not None:
        request = replace(request, base=base)
    cfg = configuration(request)
    vectors = open_stream(resolved(cfg))
    if task not in vectors.tasks:
        raise TadropError(
            f"{out}: has no task {task!r}; it has {', '.join(vectors.tasks)}"
        )
    dtype = dtype_of(request.dtype)
    made = {"unpacked": task, "of": out.name}
    plan = Plan(target, scale(out), dtype, overwrite=overwrite, made=made)
    own = vectors.private_tensors()[task]
    return expanded(out, vectors.base, task, own, plan, vectors.experts[task])
