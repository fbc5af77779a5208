"""The effects of looks, against images worked out by hand."""

import numpy as np
import pytest

from tadrop.tasks.drawing import effects
from tadrop.tasks.drawing.families import FAMILIES
from tadrop.tasks.drawing.handwritten import LOOK
from tadrop.tasks.drawing.rendering import SIZE, Look, paint

EVERY = effects.INK | effects.PICTURE


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def square() -> np.ndarray:
    """A white square of 4 x 4 in the middle of 8 x 8."""
    image = np.zeros((1, 8, 8), np.uint8)
    image[:, 2:6, 2:6] = 255
    return image


def test_thin_takes_the_rim_and_hollow_leaves_it():
    inner = np.zeros((1, 8, 8), np.uint8)
    inner[:, 3:5, 3:5] = 255
    assert (effects.thin(square(), 1, rng()) == inner).all()
    assert (effects.hollow(square(), 1, rng()) == square() - inner).all()
    assert not effects.thin(square(), 2, rng()).any()


def test_a_shadow_lies_right_below_at_half_strength():
    seen = effects.shadow(square(), 2, rng())[0]
    assert (seen[2:6, 2:6] == 255).all()
    assert (seen[6:8, 4:8] == 127).all()
    assert (seen[4:8, 6:8] == 127).all()
    assert not seen[:2].any()
    assert not seen[6:, :4].any()


def test_a_wave_moves_rows_and_loses_nothing():
    ink = np.zeros((200, 8, 8), np.uint8)
    ink[:, :, 4] = 255
    seen = effects.wave(ink, 3, rng())
    assert (seen.sum(2) == 255).all()
    moved = seen.argmax(2) - 4
    offsets = [0, 2, 3, 2, 0, -2, -3, -2]
    phases = [offsets[at:] + offsets[:at] for at in range(8)]
    assert {tuple(row) for row in moved.tolist()} == set(map(tuple, phases))


def test_lines_and_lattices_are_where_they_should_be():
    white = np.full((1, 4, 4), 200, np.uint8)
    assert effects.rows(white.copy(), 2, rng())[0, :, 0].tolist() == [200, 0, 200, 0]
    assert effects.columns(white.copy(), 3, rng())[0, 0].tolist() == [200, 200, 0, 200]
    seen = effects.lattice(white.copy(), 1, rng())[0]
    assert seen[0].tolist() == [200, 0, 200, 0]
    assert seen[1].tolist() == [0, 200, 0, 200]


def test_holes_are_whole_squares_inside_the_image():
    seen = effects.holes(np.zeros((50, 12, 12), np.uint8), 1, rng())
    assert ((seen == 255).sum((1, 2)) == 25).all()
    rows, columns = (seen == 255).any(2), (seen == 255).any(1)
    assert (rows.sum(1) == 5).all()
    assert (columns.sum(1) == 5).all()
    assert len({row.tobytes() for row in rows}) > 4


def test_strokes_cross_the_whole_image():
    seen = effects.strokes(np.zeros((50, 12, 12), np.uint8), 1, rng()) == 255
    assert (seen.all(1).sum(1) == 1).all()
    assert (seen.all(2).sum(1) == 1).all()
    assert (seen.sum((1, 2)) == 23).all()


def test_salt_changes_its_share():
    seen = effects.salt(np.full((100, 28, 28), 100, np.uint8), 20, rng())
    assert set(np.unique(seen)) == {0, 100, 255}
    assert (seen == 0).mean() == pytest.approx(0.10, abs=0.01)
    assert (seen == 255).mean() == pytest.approx(0.10, abs=0.01)


def test_blur_is_the_binomial_kernel():
    point = np.zeros((1, 5, 5), np.uint8)
    point[0, 2, 2] = 160
    expected = np.outer([0, 1, 2, 1, 0], [0, 1, 2, 1, 0]) * 10
    assert (effects.blur(point, 1, rng())[0] == expected).all()
    flat = np.full((1, 5, 5), 77, np.uint8)
    assert (effects.blur(flat, 8, rng()) == 77).all()


def test_pixelate_shows_means_and_levels_few_shades():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) * 10
    seen = effects.pixelate(image, 2, rng())[0]
    assert seen[0].tolist() == [25, 25, 45, 45]
    assert (seen[0] == seen[1]).all()
    shades = effects.levels(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), 4, rng())
    assert np.unique(shades).tolist() == [32, 96, 160, 224]


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_effect_keeps_the_shape_and_follows_its_generator(name):
    ink = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE)).astype(np.uint8)
    once = EVERY[name](ink.copy(), 2, rng())
    assert once.shape == ink.shape
    assert once.dtype == np.uint8
    assert (once == EVERY[name](ink.copy(), 2, rng())).all()
    assert (once != ink).any()


def test_looks_name_effects_that_exist():
    for look in (LOOK, *(family.look for family in FAMILIES.values())):
        assert {name for name, _ in look.effects} <= EVERY.keys()


def test_ink_is_changed_before_the_paper_and_pictures_after_it():
    ink = np.zeros((1, SIZE, SIZE), np.uint8)
    ink[:, 10:14, 10:14] = 255
    flat = Look(noise=0, contrast=(200, 200))
    plain = paint(ink.copy(), flat, rng())
    thinned = paint(
        ink.copy(), Look(noise=0, contrast=(200, 200), effects=(("thin", 1),)), rng()
    )
    assert (plain != thinned).sum() == 12
    ruled = paint(
        ink.copy(), Look(noise=0, contrast=(200, 200), effects=(("rows", 2),)), rng()
    )
    assert not ruled[:, 1::2].any()
    assert (ruled[:, ::2] == plain[:, ::2]).all()
