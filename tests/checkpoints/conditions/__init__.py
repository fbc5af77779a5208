"""What may be wrong or odd with checkpoints on disk: a test's number is its condition's."""

import pytest

from tadrop import merge_checkpoints
from tadrop.types import TadropError


def merged(base, experts, out, method="average", **more):
    """Merges; see merge_checkpoints."""
    return merge_checkpoints(base, experts, out, method, **more)


def refused(base, experts, out, match, **more):
    """The merge is refused with these words, and nothing of it is left behind."""
    with pytest.raises(TadropError, match=match):
        merged(base, experts, out, **more)
    assert not out.exists()


def noted(capsys):
    """What was said on standard error, in one line."""
    return " ".join(capsys.readouterr().err.split())
