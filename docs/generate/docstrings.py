"""Griffe's extension: docstrings of the library's pages become Markdown."""

from typing import Any

# Of the extra docs, which is not there where types are checked.
from griffe import Extension  # pyright: ignore[reportMissingImports]

from docs.generate.commands import listed


class Lists(Extension):
    """Rewrites every docstring before it is rendered."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """See griffe."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)
