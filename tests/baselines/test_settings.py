"""The settings of the rows are those that their authors' code runs with.

Of a row that is named after a port they are the port's. A setting that is changed in a
YAML alone changes what a row is; where it came from stands in the row's first lines.
"""

from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf"
TO_3 = [round(0.1 * step, 1) for step in range(1, 31)]
TIES_GRID = [round(0.8 + 0.1 * step, 1) for step in range(18)]
TENTHS = TO_3[:10]


def at(node: str, **values: object) -> dict[str, object]:
    """Settings by their place in the configuration."""
    return {f"{node}.{word}": value for word, value in values.items()}


def scaled(scale, grid=None):
    """The scale of a row, and the grid that select=grid tries."""
    words = {"scale": scale} if grid is None else {"scale": scale, "scale_grid": grid}
    return at("merge", **words)


def formula(**values):
    return at("merge.method.merge", **values)


def refine(**values):
    return at("merge.refine", **values)


TRIM = at("sparsify", keep=0.2, count="kth", scope="model")
TOP = at("sparsify", keep=0.1, scope="model")
DROP = at("sparsify", keep=0.1, rescale=True)
PCB_GRID = at("merge.tune.ratio", grid=[0.05, 0.1, 0.2])
MASK_GRID = at("merge.tune.lambdas", grid=[0.2, 0.3, 0.4, 0.5, 0.6])
MASKS = at("merge.knobs", lambdas=0.4) | MASK_GRID
CONSENSUS = MASKS | at("merge.knobs", threshold=2) | at("merge", scale_grid=TENTHS)
ADAM = refine(init=0.3, rate=1e-3, steps=500, size=32, split="test") | at(
    "merge", data="test inputs"
)
MATRIX = at("merge.method", scope="matrix")
LINEAR = MATRIX | at("merge.method", kinds=["linear"])

SETTINGS = {
    "average": scaled(1.0),
    "task_arithmetic": scaled(0.3, TENTHS),
    "ties": TRIM | scaled(1.0, TIES_GRID) | formula(combine="mean"),
    "ties_sum": TRIM | scaled(0.3) | formula(combine="sum"),
    "ties_max": TRIM | scaled(1.0) | formula(combine="max"),
    "ties_tensor": (
        at("sparsify", keep=0.2, count="floor", scope="tensor") | formula(survey=1.0)
    ),
    "dare": DROP | at("merge", scale_grid=[0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
    "dare_ties": (
        DROP
        | formula(combine="mean")
        | at("sparsify.trim", keep=0.2, count="kth", scope="model")
    ),
    "breadcrumbs": (
        at("sparsify", keep=0.15, outliers=0.006)
        | formula(outliers=0.006, by="row")
        | scaled(0.2)
    ),
    "della": at("sparsify", keep=0.7, window=0.14) | scaled(1.1),
    "emr": at("merge.method.rescale", rule="paper") | scaled(1.0),
    "emr_code": at("merge.method.rescale", rule="code") | scaled(1.0),
    "pcb": (
        PCB_GRID
        | at("merge.knobs", ratio=0.05)
        | at("merge.method.survey", winsor=0.01, inter="normalised")
        | scaled(1.2)
    ),
    "pcb_root": (
        PCB_GRID
        | at("merge.knobs", ratio=0.1)
        | at("merge.method.survey", winsor=1e-4, inter="plain")
        | scaled(1.0)
    ),
    "pcb_nlp": (
        PCB_GRID
        | at("merge.knobs", ratio=0.1)
        | at("merge.method.survey", winsor=0.01, inter="plain")
        | scaled(1.0)
    ),
    "pcb_es": (
        PCB_GRID
        | at("merge.knobs", ratio=0.05)
        | at("merge.method.survey", winsor=0.01, inter="pairwise")
        | scaled(1.0)
    ),
    "sce": formula(select=0.1, selects="entries") | scaled(1.0),
    "sce_mergekit": formula(select=1.0, selects="entries", floor=1e-6),
    "sce_code": formula(select=0.1, selects="weights"),
    "tall_mask": MASKS | scaled(1.0),
    "tall_mask_ties": MASKS
    | TRIM
    | scaled(1.0)
    | at("merge.method", needs=["uncut", "order"]),
    "consensus_ta": CONSENSUS,
    "consensus_ties": CONSENSUS | TRIM,
    "tsv_m": MATRIX | scaled(1.0, TO_3),
    "iso_c": MATRIX | scaled(1.0, TO_3),
    "iso_cts": scaled(1.0, TO_3) | formula(common=0.8),
    "wudi": LINEAR | scaled(1.0) | formula(steps=300, rate=1e-5),
    "wudi_exact": LINEAR | scaled(1.0),
    "opcm": LINEAR | scaled(1.0) | formula(share=0.5, rank="code"),
    "fisher": formula(floor=1e-6, floored="every"),
    "fisher_batch": (
        at("merge.statistics", examples=256, batch=32)
        | formula(floor=1e-6, floored="information")
    ),
    "regmean": (
        LINEAR
        | formula(off_diagonal=0.9)
        | at("merge.statistics", examples=256)
        | at("merge.statistics.collect", per="token")
    ),
    "adamerging": ADAM | refine(wise="layer"),
    "adamerging_task": ADAM | refine(wise="task"),
    "adamerging_plus": ADAM | TRIM | refine(wise="layer"),
    "adamerging_task_plus": ADAM | TRIM | refine(wise="task"),
    "surgery": (
        refine(rank=16, steps=500) | scaled(0.3) | at("merge", data="test inputs")
    ),
    "nps": TOP,
    "nps_disjoint": TOP,
    "smile": refine(keep=0.16667, gate=1, active=1),
    "twin": (
        refine(keep=0.1, epochs=50, rate=5e-4, size=1024, examples=3000)
        | scaled(0.29)
        | at("merge", data="training inputs")
    ),
}


@cache
def config(row):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"merge={row}"])


@pytest.mark.parametrize("row", SETTINGS)
def test_a_row_is_run_with_its_authors_settings(row):
    for word, expected in SETTINGS[row].items():
        value = OmegaConf.select(config(row), word, throw_on_missing=True)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value)
        assert value == expected, word


def test_rows_that_trim_nothing_have_no_sparsifier():
    for row, settings in SETTINGS.items():
        trims = any(word.startswith("sparsify") for word in settings)
        assert (config(row).sparsify is not None) == trims, row
