"""Singular vectors and polar factors on good and on degenerate matrices."""

import numpy as np
import pytest
import torch
from torch import tensor

from tadrop.numerics import linalg
from tadrop.numerics.linalg import inverse, polar, svd


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1), (1, 1)])
def test_svd_multiplies_out_and_is_orthonormal(shape):
    matrix = draw(*shape)
    left, values, right = svd(matrix)
    torch.testing.assert_close(svd(matrix).matrix(), matrix.double())
    eye = torch.eye(min(shape), dtype=torch.float64)
    torch.testing.assert_close(left.T @ left, eye)
    torch.testing.assert_close(right @ right.T, eye)
    assert (values.diff() <= 0).all()


def test_batches_equal_single_matrices():
    batch = draw(3, 4, 6)
    for one, matrix in zip(svd(batch).matrix(), batch, strict=True):
        torch.testing.assert_close(one, matrix.double())
    torch.testing.assert_close(polar(batch)[1], polar(batch[1]))


def test_polar_is_the_nearest_orthonormal_matrix():
    matrix = draw(5, 3)
    u, _, vt = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    torch.testing.assert_close(polar(matrix), torch.from_numpy(u @ vt))


def test_a_zero_matrix_has_no_directions():
    assert not svd(torch.zeros(3, 4)).left.any()
    assert not polar(torch.zeros(3, 4)).any()
    assert not inverse(torch.zeros(3, 3)).any()


def test_dead_directions_are_zero_and_the_rest_is_orthonormal():
    one, other = draw(5, 2), draw(2, 4)
    matrix = torch.cat([one @ other, torch.zeros(2, 4)])
    left, values, right = svd(matrix.double() @ torch.eye(4, dtype=torch.float64))
    alive = values > 0
    rank = np.linalg.matrix_rank(matrix.numpy())
    isometry = polar(one.double() @ other.double())
    assert rank == 2
    assert not left[:, ~alive].any()
    assert not right[~alive].any()
    torch.testing.assert_close(isometry.T @ isometry @ isometry.T, isometry.T)
    assert round(float((isometry.T @ isometry).trace())) == 2


def test_repeated_columns_share_a_direction():
    column = draw(6, 1)
    column /= column.norm()
    torch.testing.assert_close(
        polar(torch.cat([column, column], dim=1)), column.repeat(1, 2).double() / 2**0.5
    )


def test_half_precision_is_taken_as_it_is():
    matrix = draw(4, 3).half()
    torch.testing.assert_close(svd(matrix).matrix(), matrix.double())


def test_a_matrix_without_entries():
    assert svd(torch.zeros(3, 0)).matrix().shape == (3, 0)
    assert polar(torch.zeros(0, 3)).shape == (0, 3)


def test_inverse_is_the_pseudo_inverse():
    gram = tensor([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(
        inverse(gram), torch.diag(tensor([0.5, 0.25, 0.0], dtype=torch.float64))
    )
    full = draw(5, 3).double()
    torch.testing.assert_close(inverse(full.T @ full), torch.linalg.inv(full.T @ full))


def with_values(values, m, n, seed=0):
    """A matrix with these singular values, made by numpy."""
    left, _ = np.linalg.qr(draw(m, len(values), seed=seed).double().numpy())
    right, _ = np.linalg.qr(draw(n, len(values), seed=seed + 1).double().numpy())
    return torch.from_numpy((left * values) @ right.T)


def reference(matrix, count):
    """The product of the leading triplets, and the values, by numpy."""
    left, values, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    product = (left[:, :count] * values[:count]) @ right[:count]
    return torch.from_numpy(product), torch.from_numpy(values[:count])


@pytest.mark.parametrize("least", [0.5, 1e-3, 1.1e-4, 0.9e-4, 1e-7, 1e-14])
@pytest.mark.parametrize(("m", "n"), [(12, 12), (12, 30), (30, 12)])
def test_leading_triplets_are_those_of_lapack_however_small_the_last(m, n, least):
    matrix = with_values(np.geomspace(1, least, 12), m, n)
    for count in (1, 5, 12):
        found = svd(matrix, count)
        product, values = reference(matrix, count)
        torch.testing.assert_close(found.matrix(), product, rtol=0, atol=1e-7)
        torch.testing.assert_close(found.values, values, rtol=1e-7, atol=1e-15)
        eye = torch.eye(count, dtype=torch.float64)
        torch.testing.assert_close(found.left.T @ found.left, eye)
        torch.testing.assert_close(found.right @ found.right.T, eye)


def test_only_what_a_gram_matrix_tells_apart_is_taken_from_it(monkeypatch):
    """Of a matrix of rank 3 the 3 leading triplets, but not all of them."""
    taken = []
    by_gram = linalg._by_gram

    def noted(matrix, count):
        result = by_gram(matrix, count)
        taken.append(result is not None)
        return result

    monkeypatch.setattr(linalg, "_by_gram", noted)
    matrix = with_values(np.array([3.0, 2.0, 1.0]), 8, 8)
    assert svd(matrix, 3).values.tolist() == pytest.approx([3, 2, 1])
    assert svd(matrix).values.tolist() == pytest.approx([3, 2, 1, 0, 0, 0, 0, 0])
    assert taken == [True, False]
    assert svd(matrix, 0).matrix().shape == (8, 8)
    assert not svd(matrix, 0).matrix().any()
    assert taken == [True, False]


@pytest.mark.parametrize("scale", [1e-150, 1e-42, 1e100])
def test_the_scale_of_a_matrix_does_not_matter(scale):
    matrix = with_values(np.array([3.0, 2.0, 1.0]), 5, 3)
    found = svd(matrix * scale)
    torch.testing.assert_close(found.values / scale, tensor([3.0, 2, 1]).double())
    torch.testing.assert_close(found.matrix() / scale, matrix)


def test_a_batch_on_threads_has_the_bits_of_one_thread(monkeypatch):
    monkeypatch.setattr(linalg, "SHARED", 1)
    batch = draw(5, 20, 30)
    batch[2] = 0
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(svd(batch, 7))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            assert torch.equal(one, other)
