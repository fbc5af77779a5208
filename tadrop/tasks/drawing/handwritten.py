"""The one embedded task whose ink is real: scikit-learn's 1,797 handwritten digits.

To change anything here changes images: tadrop/tasks/glyphs.py then needs a new VERSION.
"""

import numpy as np
from PIL import Image

from tadrop.tasks.drawing.rendering import MASTER, Look, paint, warp

LOOK = Look(zoom=(0.45, 0.6), shift=5.0)
# Train, validation and test are runs of the file that do not overlap.
RUNS = {"train": (0, 1000), "validation": (1000, 1200), "test": (1200, 1797)}


def draw(
    split: str, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` images [count, SIZE, SIZE] uint8 of a split's digits, and their labels.

    Each digit of the split is drawn about equally often, in a view of its own.
    """
    from sklearn.datasets import load_digits

    digits, targets = load_digits(return_X_y=True)
    begin, end = RUNS[split]
    chosen = rng.permutation(np.arange(count) % (end - begin)) + begin
    ink = []
    for digit in np.asarray(digits)[chosen].reshape(-1, 8, 8):
        ink.append(warp(_master(digit), LOOK, rng))
    labels = np.asarray(targets)[chosen].astype(np.int64)
    return paint(np.stack(ink), LOOK, rng), labels


def _master(digit: np.ndarray) -> Image.Image:
    """A digit of 8 x 8 grey levels up to 16 as a clean rendering, white on black."""
    grey = Image.fromarray((digit * 255 / 16).astype(np.uint8))
    master = Image.new("L", (MASTER, MASTER))
    master.paste(grey.resize((40, 40), Image.Resampling.BICUBIC), (8, 8))
    return master
