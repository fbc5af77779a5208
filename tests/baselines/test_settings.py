"""The settings of the rows are those that their authors' code, or the port that a row is named
after, runs with.

A setting that is changed in a YAML alone changes what a row is; where it came from stands in the
row's first lines.
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
TRIM = {"sparsify.keep": 0.2, "sparsify.count": "ties", "sparsify.scope": "model"}
TOP = {"sparsify.keep": 0.1, "sparsify.scope": "model"}
PCB_GRID = {"merge.tune.ratio.grid": [0.05, 0.1, 0.2]}
MASKS = {
    "merge.knobs.lambdas": 0.4,
    "merge.tune.lambdas.grid": [0.2, 0.3, 0.4, 0.5, 0.6],
}
ADAM = {"init": 0.3, "rate": 1e-3, "steps": 500, "size": 32, "split": "test"}
ADAM = {f"merge.refine.{word}": value for word, value in ADAM.items()} | {
    "merge.data": "test inputs"
}
LINEAR = {"merge.method.scope": "matrix", "merge.method.kinds": ["linear"]}

SETTINGS = {
    "average": {"merge.scale": 1.0},
    "task_arithmetic": {"merge.scale": 0.3, "merge.scale_grid": TENTHS},
    "ties": TRIM | {"merge.scale": 1.0, "merge.scale_grid": TIES_GRID, "merge.method.merge.combine": "mean"},
    "ties_sum": TRIM | {"merge.scale": 0.3, "merge.method.merge.combine": "sum"},
    "ties_max": TRIM | {"merge.scale": 1.0, "merge.method.merge.combine": "max"},
    "ties_tensor": {"sparsify.keep": 0.2, "sparsify.count": "floor", "sparsify.scope": "tensor"},
    "dare": {"sparsify.keep": 0.1, "sparsify.rescale": True, "merge.scale_grid": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]},
    "dare_ties": {"sparsify.keep": 0.1, "sparsify.rescale": True, "merge.method.merge.combine": "mean"},
    "breadcrumbs": {"sparsify.keep": 0.15, "sparsify.outliers": 0.006, "merge.method.merge.outliers": 0.006}
    | {"merge.scale": 0.2, "merge.method.merge.by": "row"},
    "della": {"sparsify.keep": 0.7, "sparsify.window": 0.14, "merge.scale": 1.1},
    "emr": {"merge.method.rescale.rule": "paper", "merge.scale": 1.0},
    "emr_code": {"merge.method.rescale.rule": "code", "merge.scale": 1.0},
    "pcb": PCB_GRID | {"merge.knobs.ratio": 0.05, "merge.scale": 1.2}
    | {"merge.method.survey.winsor": 0.01, "merge.method.survey.inter": "normalised"},
    "pcb_root": PCB_GRID | {"merge.knobs.ratio": 0.1, "merge.scale": 1.0}
    | {"merge.method.survey.winsor": 1e-4, "merge.method.survey.inter": "plain"},
    "pcb_nlp": PCB_GRID | {"merge.knobs.ratio": 0.1, "merge.scale": 1.0}
    | {"merge.method.survey.winsor": 0.01, "merge.method.survey.inter": "plain"},
    "tall_mask": MASKS | {"merge.scale": 1.0},
    "tall_mask_ties": MASKS | TRIM | {"merge.scale": 1.0, "merge.method.needs": ["uncut"]},
    "consensus_ta": MASKS | {"merge.knobs.threshold": 2, "merge.scale_grid": TENTHS},
    "consensus_ties": MASKS | TRIM | {"merge.knobs.threshold": 2, "merge.scale_grid": TENTHS},
    "tsv_m": {"merge.scale": 1.0, "merge.scale_grid": TO_3, "merge.method.scope": "matrix"},
    "iso_c": {"merge.scale": 1.0, "merge.scale_grid": TO_3, "merge.method.scope": "matrix"},
    "iso_cts": {"merge.scale": 1.0, "merge.scale_grid": TO_3, "merge.method.merge.common": 0.8},
    "wudi": LINEAR | {"merge.scale": 1.0, "merge.method.merge.steps": 300, "merge.method.merge.rate": 1e-5},
    "wudi_exact": LINEAR | {"merge.scale": 1.0},
    "opcm": LINEAR | {"merge.scale": 1.0, "merge.method.merge.share": 0.5, "merge.method.merge.rank": "code"},
    "fisher_batch": {"merge.statistics.examples": 256, "merge.statistics.batch": 32, "merge.method.merge.floor": 1e-6},
    "regmean": LINEAR | {"merge.method.merge.off_diagonal": 0.9, "merge.statistics.examples": 256},
    "adamerging": ADAM | {"merge.refine.wise": "layer"},
    "adamerging_task": ADAM | {"merge.refine.wise": "task"},
    "adamerging_plus": ADAM | TRIM | {"merge.refine.wise": "layer"},
    "adamerging_task_plus": ADAM | TRIM | {"merge.refine.wise": "task"},
    "surgery": {"merge.refine.rank": 16, "merge.refine.steps": 500, "merge.scale": 0.3, "merge.data": "test inputs"},
    "nps": TOP,
    "nps_disjoint": TOP,
    "smile": {"merge.refine.keep": 0.16667, "merge.refine.gate": 1, "merge.refine.active": 1},
    "twin": {"merge.refine.keep": 0.1, "merge.refine.epochs": 50, "merge.refine.rate": 5e-4, "merge.refine.size": 1024}
    | {"merge.refine.examples": 3000, "merge.scale": 0.29, "merge.data": "training inputs"},
}  # fmt: skip


@cache
def config(row):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"merge={row}"])


@pytest.mark.parametrize("row", SETTINGS)
def test_a_row_is_run_with_its_authors_settings(row):
    found = {
        place: OmegaConf.select(config(row), place, throw_on_missing=True)
        for place in SETTINGS[row]
    }
    plain = {
        p: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v
        for p, v in found.items()
    }
    assert plain == SETTINGS[row]


def test_rows_that_trim_nothing_have_no_sparsifier():
    for row in SETTINGS:
        assert (config(row).sparsify is not None) == any(
            place.startswith("sparsify") for place in SETTINGS[row]
        ), row
