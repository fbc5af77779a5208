"""What parts of a merge cost by themselves: decompositions, and TADrop in memory."""

from pathlib import Path
from statistics import median

from experiments.benchmarks.inputs import make, vision_tower
from experiments.benchmarks.page import Page, seconds_of, verdict
from experiments.benchmarks.processes import measured

MATRICES = (
    '+model.matrices=[{names: "encoder.layers.*_proj.weight"}, '
    '{names: "encoder.layers.*.mlp.fc?.weight"}]'
)
SIZES = (25_000_000, 50_000_000, 100_000_000)  # entries
QUANTILES = ((0.3, 0.9), (0.1, 0.5), (0.8, 0.99))
MOST = 6  # times reading and writing the tensor once
TURNS = 5


def spectral(page: Page, folder: Path) -> None:
    """How much of a spectral method's time is
    spent in the decompositions themselves.
    """
    inputs = make(folder, vision_tower(768, 2, 32, 50), 4, 4)
    rows: list[list[str]] = []
    for name in ("tsv_m", "iso_c"):
        words = [f"merge={name}", "tadrop=off", MATRICES]
        run = measured(inputs, folder / "out", words)
        row = [
            f"merge={name}",
            f"{run.seconds:.2f}",
            f"{run.decompositions:.2f}",
            f"{run.decompositions / run.seconds:.0%}",
            f"{run.private / 1e6:.0f}",
        ]
        rows.append(row)
    title = "Spectral methods, scaled down: two of ViT-B/32's twelve layers, four tasks"
    head = ("row", "seconds", "in torch.linalg", "share", "private MB")
    note = (
        "Singular vectors come from Gram matrices where that is safe, in float64; the "
        "matrices of several tasks are shared out among threads."
    )
    page.add("spectral", title, head, rows, note)


def tadrop_alone(page: Page) -> None:
    """Quantiles, threshold and rescale of one tensor in memory.

    The floor is reading and writing the tensor once.
    """
    import torch

    from tadrop import tadrop_

    tadrop_(torch.randn(1 << 20))  # imports and compiled kernels
    rows: list[list[str]] = []
    for size in SIZES:
        for low, high in QUANTILES:
            floor, seconds = copy_and_drop(size, low, high)
            row = [
                f"{size / 1e6:.0f} M",
                f"{low}, {high}",
                f"{seconds:.3f}",
                f"{floor:.3f}",
                f"{seconds / floor:.1f}",
                f"{MOST}",
                verdict(seconds <= MOST * floor),
            ]
            rows.append(row)
    head = ("entries", "quantiles", "seconds", "read and write", "ratio", "at most", "")
    note = f"Copy and TADrop on {torch.get_num_threads()} threads, medians of five."
    page.add("tadrop", "TADrop alone on one fp32 tensor in memory", head, rows, note)


def copy_and_drop(size: int, low: float, high: float) -> tuple[float, float]:
    """Median seconds of copying a tensor, and of TADrop on it."""
    import torch

    from tadrop import tadrop_

    tau, copy = torch.randn(size), torch.zeros(size)
    copies: list[float] = []
    drops: list[float] = []
    for _ in range(TURNS):
        # A copy comes before each drop, so that every call sees the same tensor.
        copies.append(seconds_of(lambda: copy.copy_(tau)))
        drops.append(seconds_of(lambda: tadrop_(copy, low, high)))
    return median(copies), median(drops)
