"""The search by CMA-ES: it climbs, keeps its budget, and is seeded."""

import pytest

from baselines import search

TOP = (2, 0.5, -1)


def hill(point):
    """1 at the top, and less everywhere else."""
    return 1 - sum((x - top) ** 2 for x, top in zip(point, TOP, strict=True))


def climb(budget, seed=0, value=hill):
    return search.maximise(value, [1.0] * 3, 0.3, budget, seed)


def test_the_search_climbs():
    optimum = climb(400)
    assert optimum.point == pytest.approx(TOP, abs=0.02)
    assert optimum.value == hill(optimum.point)


@pytest.mark.parametrize("budget", [1, 7, 8, 50])
def test_the_budget_is_kept_and_counted(budget):
    points = []

    def value(point):
        points.append(tuple(point))
        return hill(point)

    optimum = climb(budget, value=value)
    assert len(points) == optimum.evaluations <= budget
    assert points[0] == (1, 1, 1)
    assert optimum.value == max(map(hill, points))
    assert optimum.point in points


def test_what_no_point_improves_stays_where_it_was():
    optimum = search.maximise(lambda point: 0.5, [1.0, 1.0], 0.3, 50, seed=0)
    assert optimum.point == (1, 1)


def test_points_stay_above_the_bound():
    lowest = []

    def value(point):
        lowest.append(min(point))
        return -sum(point)

    search.maximise(value, [0.1] * 3, 0.5, 60, seed=0, lowest=0.0)
    assert min(lowest) >= 0


def test_the_seed_decides():
    one, same, other = climb(40, 2**63 + 1), climb(40, 2**63 + 1), climb(40, 5)
    assert one == same
    assert one.point != other.point
