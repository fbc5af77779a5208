"""Singular vectors and polar factors on good and on degenerate matrices."""

import numpy as np
import pytest
import torch
from torch import tensor

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
