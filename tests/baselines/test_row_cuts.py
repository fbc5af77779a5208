"""Breadcrumbs and DELLA, whose cuts go by matrix rows."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import tensor

from baselines import breadcrumbs, della
from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.numerics.seeds import key
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.draws import ranks
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.magprune import MagPrune, RankCut
from tadrop.sparsify.row_magnitude import RowMagnitude
from tadrop.types import TadropError, Vector
from tadrop.vectors import passes
from tadrop.vectors.derived import Derived
from tests.baselines.formulas import delta, draw, expect
from tests.golden import golden, stream_of
from tests.tiny import normal

CONF = Path(__file__).parents[2] / "conf"


def test_breadcrumbs_by_rows():
    stream = Sparse(golden(), RowMagnitude(0.5, outliers=0.25))
    method = Method(partial(breadcrumbs.merge, outliers=0.25), scope="tensor")
    expect(delta(stream, method), [-1, -0.5, 1, 0, 0, 0, 0.75, 3, 0.2, 0.2])


def authors_breadcrumbs(tau, beta, gamma, words):
    """Per row: the int(beta n) largest after the int(gamma n) largest.

    words: of every entry, by which equal ones stay in the lower cut; of equal outliers
    the first go
    """
    n = tau.shape[-1]
    result = np.zeros_like(tau)
    runs = (tau.reshape(-1, n), words.reshape(-1, n), result.reshape(-1, n))
    for row, drawn, out in zip(*runs, strict=True):
        kept = np.lexsort((drawn, -np.abs(row)))[: int(beta * n) + int(gamma * n)]
        rest = np.zeros(n)
        rest[kept] = row[kept]
        outliers = np.argsort(-np.abs(rest), kind="stable")[: int(gamma * n)]
        rest[outliers] = 0
        out[:] = rest
    return result


@pytest.mark.parametrize("piece", [40, 1 << 20])
def test_breadcrumbs_by_rows_against_a_loop(piece, monkeypatch):
    monkeypatch.setattr(passes, "ALIGN", 8)
    monkeypatch.setattr(passes, "PIECE", piece)
    taus = draw(seed=5, A=(4, 20), b=(30,), c=(2, 3, 15))
    stream = Sparse(stream_of(taus), RowMagnitude(0.3, outliers=0.1))
    method = Method(partial(breadcrumbs.merge, outliers=0.1), scope="tensor")
    merged = merge(stream, method)
    for name in stream.names:
        expected = 0.0
        for task, tensors in taus.items():
            tau = tensors[name].double().numpy()
            words = ranks(key("equals", task, name), torch.arange(tau.size)).numpy()
            expected = expected + authors_breadcrumbs(tau, 0.3, 0.1, words)
        expect(merged.delta("t0", name), expected, atol=1e-5)


def test_breadcrumbs_truncation_empties_short_rows():
    taus = draw(A=(5, 14))
    stream = Sparse(stream_of(taus), RowMagnitude(0.05, outliers=0.006))
    assert not delta(stream, Method(breadcrumbs.merge, scope="tensor")).any()


def test_breadcrumbs_by_tensor():
    values = torch.arange(1.0, 21.0).view(4, 5)
    stream = Sparse(stream_of({"t1": {"A": values}}), Magnitude(0.4))
    formula = partial(breadcrumbs.merge, outliers=0.1, by="tensor")
    method = Method(formula, scope="tensor")
    expect(delta(stream, method), [*[0] * 12, 13, 14, 15, 16, 17, 18, 0, 0])


def test_breadcrumbs_outliers_go_whatever_made_the_lower_cut():
    taus = tensor([[[9.0, 8, 1, 2, 0.5]]])
    expect(breadcrumbs.merge(taus, outliers=0.4), [[[0, 0, 1, 2, 0.5]]])


@pytest.mark.parametrize(
    ("row", "by"), [("breadcrumbs", "row"), ("breadcrumbs_tensor", "tensor")]
)
def test_a_setting_of_breadcrumbs_is_also_that_of_its_compiled_twin(row, by):
    words = [f"merge={row}", "merge.method.merge.outliers=0.02"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        method = build.part(compose("config", words).merge.method)
    for function in (method.merge, method.compiled):
        assert function.keywords == {"outliers": 0.02, "by": by}


def test_row_cut_facts_count_exactly():
    stream = Sparse(stream_of(draw(zeros=0.0)), RowMagnitude(0.5))
    for (task, name), cut in all_cuts(stream).items():
        tau = stream.taus(name)[stream.tasks.index(task)]
        assert int((tau != 0).sum()) == cut.facts().kept


def test_magprune_probabilities_grow_with_the_rank():
    words = {"keep": 0.7, "window": 0.2}
    cut = RankCut(("w",), row=5, **words)
    probabilities = cut.probabilities(tensor([[3.0, -1, 0, 5, 2]]))
    expect(probabilities, [[0.75, 0.65, 0.6, 0.8, 0.7]])
    single = RankCut(("w",), row=1, **words)
    expect(single.probabilities(tensor([[3.0], [1.0]])), [[0.7], [0.7]])


def test_magprune_keeps_as_often_as_it_says_and_preserves_the_mean():
    tau = torch.arange(1.0, 11.0).repeat(20000, 1)
    pruned = MagPrune(0.6, 0.4, seed=0).plan(Vector.of(tau)).apply(tau)
    kept = (pruned != 0).double().mean(0)
    expect(kept, 0.4 + 0.4 * torch.arange(10) / 9, atol=0.015)
    expect(pruned.double().mean(0) / tau[0], torch.ones(10), atol=0.03)


def test_magprune_draws_by_task_tensor_and_index():
    tau = torch.ones(40, 50)

    def plan(task, name, seed=0):
        return MagPrune(0.5, 0.2, seed).plan(Vector.of(tau, task, name))

    whole = plan("t", "n").apply(tau)
    pieces = []
    for row in range(0, 40, 5):
        piece = tau[row : row + 5]
        pieces.append(plan("t", "n").apply(piece, start=row * 50))
    assert torch.equal(torch.cat(pieces), whole)
    for other in (plan("u", "n"), plan("t", "m"), plan("t", "n", 1)):
        assert not torch.equal(other.apply(tau), whole)


@pytest.mark.parametrize(
    "words", [{"keep": 0.05, "window": 0.14}, {"keep": 0.95, "window": 0.14}]
)
def test_magprune_refuses_what_is_no_probability(words):
    with pytest.raises(TadropError, match="probabilities"):
        MagPrune(seed=0, **words)


def test_della_takes_a_zero_sum_as_positive():
    expect(della.merge(tensor([[1.0, 2, -3], [-1.0, 4, -1]])), [[1, 3, -2]])


class InPieces(Derived):
    """A stream that hands a tensor out in pieces which end inside of rows."""

    def vector(self, task, name):
        whole = self.source.vector(task, name)
        (flat,) = whole.pieces()
        return replace(whole, pieces=lambda: iter(flat.split(16)))


def test_cuts_by_rows_see_whole_rows_in_any_piece():
    taus = {task: {"w": normal(7, 10, words=task)} for task in ("t0", "t1")}
    rule = MagPrune(0.5, 0.4, seed=0)
    stream = Sparse(stream_of(taus), rule)
    whole = stream.taus("w").reshape(2, -1)
    for start, stop in ((0, 8), (8, 24), (24, 70), (64, 70), (3, 5)):
        assert torch.equal(stream.taus("w", start, stop), whole[:, start:stop])
    source = InPieces(stream_of(taus))
    pieces = list(Sparse(source, rule).vector(0, "w").pieces())
    assert len(pieces) > 1
    assert torch.equal(torch.cat(pieces), whole[0])
