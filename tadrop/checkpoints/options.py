"""What is said of a family beside its checkpoints,
and whether it is about something.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from tadrop.checkpoints.opening import Input
from tadrop.types import TadropError
from tadrop.vectors.names import layer_of

SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class Options:
    """What is said of a family beside its checkpoints; see models.local."""

    private: tuple[str, ...] = ()
    keep_base: tuple[str, ...] = ()
    tokenizer: str | None = None
    statistics: str = "mean"
    round_base: bool = False
    force: bool = False
    chat_template: str | None = None
    rename: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    key: str | None = None


def check(options: Options, base: Input, inputs: Mapping[str, Input]) -> None:
    """Raises TadropError for what is about nothing: experts that there are not, a key
    without a torch file, patterns of no tensor.
    """
    _check_key(options.key, base, inputs)
    for name in options.rename:
        if name not in inputs or inputs[name].adapter is not None:
            raise TadropError(
                f"rename.{name}: is no whole expert; they are {', '.join(inputs)}"
            )
    if options.rename:
        return  # patterns are of the new names, which are looked at when they are there
    names = set(base.checkpoint.tensors)
    for one in inputs.values():
        values = one.adapter.values if one.adapter else ()
        names |= {*one.checkpoint.tensors, *one.checkpoint.aliases, *values}
    for pattern in options.private:
        if not fnmatch.filter(names, pattern):
            layers = {f"{layer_of(name)}.*" for name in names}
            near = get_close_matches(pattern, sorted(names | layers), 1, 0)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise TadropError(
                f"model.private=[{pattern}]: no tensor is called so{meant}"
            )


def _check_key(key: str | None, base: Input, inputs: Mapping[str, Input]) -> None:
    if key is None:
        return
    for one in (base, *inputs.values()):
        if any(file.suffix != SAFETENSORS for file in one.checkpoint.files):
            return
    raise TadropError(
        f"model.key={key}: no input is a torch file, which alone has entries to choose from"
    )
