"""Whether bfloat16 is worth its rounding on this machine."""

import time
from functools import cache

import torch

from tadrop.app.console import err, say

# Rows of a batch, and inputs and outputs of a layer: one product takes a millisecond.
ROWS, WIDTH = 128, 512
REPEATS = 3
# A slowdown below this is taken for noise of the clock.
NOTABLE = 1.5


def product_seconds(dtype: torch.dtype) -> float:
    """How long a matrix product of a small layer takes on the CPU, at best."""
    batch = torch.ones(ROWS, WIDTH, dtype=dtype)
    weight = torch.ones(WIDTH, WIDTH, dtype=dtype)
    torch.mm(batch, weight)  # the first one sets things up
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.mm(batch, weight)
        best = min(best, time.perf_counter() - start)
    return best


@cache
def warn_of_slow(dtype: torch.dtype) -> None:
    """Says once, in a line, that the CPU is slower with a dtype than with float32.

    Processors without units for bfloat16 take about ten times as long. That is measured
    here and now, which takes a few milliseconds.
    """
    if dtype == torch.float32:
        return
    usual, other = product_seconds(torch.float32), product_seconds(dtype)
    if other < NOTABLE * usual:
        return
    name = str(dtype).removeprefix("torch.")
    say(
        f"dtype={name} is {other / usual:.1f} times slower than float32 on this "
        f"processor: a product of {ROWS} x {WIDTH} and {WIDTH} x {WIDTH} just took "
        f"{1000 * other:.1f} ms against {1000 * usual:.1f} ms",
        err,
    )
