"""DARE before the whole of TIES, as its authors run it."""

import numpy as np
import pytest
import torch

from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.sparsify.chain import sparsified
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.dare import Dare
from tests.baselines.authors import config
from tests.baselines.formulas import draw, expect
from tests.golden import stream_of


def authors(dropped):
    """TIES of vectors [T, d]: the top 20 % with all equals, elect, disjoint mean."""
    trimmed = np.zeros_like(dropped)
    for row, out in zip(dropped, trimmed, strict=True):
        rank = len(row) - int(len(row) * 0.2)
        kept = np.abs(row) >= np.sort(np.abs(row))[rank - 1]
        out[kept] = row[kept]
    sign = np.sign(trimmed.sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    agree = np.where(sign > 0, trimmed > 0, trimmed < 0)
    return (trimmed * agree).sum(0) / np.maximum(agree.sum(0), 1)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_the_trim_sees_what_the_drop_has_left(keep):
    taus = draw(3, zeros=0.0, A=(30, 40))
    stream = stream_of(taus)
    cfg = config("dare_ties", (f"sparsify.keep={keep}",))
    cut = sparsified(build.rule(cfg.sparsify))(stream)
    merged = merge(cut, build.part(cfg.merge.method)).delta("t0", "A")
    dropped = Sparse(stream, Dare(keep, seed=0)).taus("A").flatten(1)
    expect(merged.flatten(), authors(dropped.double().numpy()), atol=1e-5)


def test_the_drop_of_a_tenth_is_left_whole_by_the_trim():
    stream = stream_of(draw(3, zeros=0.0, A=(30, 40)))
    cut = sparsified(build.rule(config("dare_ties").sparsify))(stream)
    assert torch.equal(cut.taus("A"), Sparse(stream, Dare(0.1, seed=0)).taus("A"))
