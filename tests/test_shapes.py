"""The shapes that signatures name are checked while tests run (see addopts)."""

import jaxtyping
import pytest
import torch

from baselines import average
from tadrop.numerics import ops


def test_what_is_no_tensor_is_refused_at_the_door():
    with pytest.raises(jaxtyping.TypeCheckError, match=r"baselines\.average\.merge"):
        average.merge([[1.0, 2.0]])


def test_axes_of_one_name_have_one_length():
    weights, taus = torch.ones(3), torch.ones(2, 4)
    with pytest.raises(jaxtyping.TypeCheckError, match="along"):
        ops.along(weights, taus)
