"""One task's whole checkpoint out of a merge, whose recipe names base and experts.

Of a compact merge it is the task's own weights; of one that all tasks share it differs
by what is private to the task, its head say.
"""

from dataclasses import replace
from pathlib import Path

from tadrop.app.merging.recipes import recipe
from tadrop.app.merging.request import configuration
from tadrop.app.runs.opening import open_stream
from tadrop.app.schema.values import resolved
from tadrop.merging.compact import COMPACT, scale
from tadrop.merging.export import expanded
from tadrop.merging.source import Plan, dtype_of
from tadrop.types import TadropError


def unpack(
    out: Path, task: str, target: Path, base: str | None, overwrite: bool
) -> int:
    """Writes a task's checkpoint into a folder; returns its bytes.

    Raises TadropError where OUT is no merge with a recipe, has no such task, or is
    itself what would be written.
    """
    if not (out / recipe.NAME).is_file():
        raise TadropError(
            f"{out}: holds no {recipe.NAME}; OUT of tadrop merge is what is unpacked"
        )
    # The note about what is private would tell who does it to do it.
    request = replace(recipe.read_recipe(out / recipe.NAME, str(target)), expand=True)
    if base is not None:
        request = replace(request, base=base)
    vectors = open_stream(resolved(configuration(request)))
    if task not in vectors.tasks:
        raise TadropError(
            f"{out}: has no task {task!r}; it has {', '.join(vectors.tasks)}"
        )
    own = vectors.private_tensors()[task]
    is_compact = (out / COMPACT).is_file()
    if not is_compact and not own:
        raise TadropError(f"{out}: all of it is shared by all tasks; it loads as it is")
    dtype = dtype_of(request.dtype)
    made = {"unpacked": task, "of": out.name}
    factor = scale(out) if is_compact else 1.0  # a shared one was applied already
    read = [out, vectors.base.path]
    read += [expert.path for expert in vectors.experts.values()]
    plan = Plan(
        target, factor, dtype, overwrite=overwrite, made=made, inputs=tuple(read)
    )
    return expanded(out, vectors.base, task, own, plan, vectors.experts[task])
