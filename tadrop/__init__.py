"""Merge fine-tuned models, with or without Tensor-wise Adaptive Drop.

from tadrop import merge_checkpoints, tadrop_

merge_checkpoints("base", ["expert_a", "expert_b"], "out", merge="ties", tadrop=True)
tadrop_(tau)                       # one task vector's tensor, in place
"""

TYPE_CHECKING = False  # as type checkers read it; typing takes time to import
if TYPE_CHECKING:
    from tadrop.app.library import merge_checkpoints, tadrop_

__all__ = ["merge_checkpoints", "tadrop_"]


def __getattr__(name: str) -> object:
    """The two functions: they are imported when they are asked for.

    So a command is at once where it can be stopped.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tadrop.app import library

    return getattr(library, name)
