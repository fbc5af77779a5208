"""Figures come from records, the same bytes each time; cosines are those of the vectors."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from tadrop.app.boards import contents
from tadrop.app.verbs.similarity import cosines
from tadrop.results import record, table
from tadrop.results.figures import averages, boards, methods, style, sweeps, tensors
from tadrop.results.figures.labels import LEADER, label_points
from tadrop.results.figures.style import new_figure
from tadrop.results.figures.words import described
from tests import records as hand
from tests import synthetic
from tests.golden import TAUS, flat, golden, stream_of


@pytest.mark.slow
def test_a_table_s_figures_are_the_same_bytes_each_time(rendered, tmp_path):
    made, records, folder = rendered
    runs = [contents.figures_of(made, records, folder) for _ in range(2)]
    names = [name for name, _ in runs[0]]
    assert {"accuracy", "sparsity", "profile"} <= set(names)
    assert any(name.startswith("tasks_") for name in names)
    paths = [style.write_figures(tmp_path / str(i), run) for i, run in enumerate(runs)]
    assert {path.suffix for path in paths[0]} == {".svg", ".png"}
    assert [path.read_bytes() for path in paths[0]] == [
        path.read_bytes() for path in paths[1]
    ]


def test_a_table_of_references_alone_is_drawn_without_a_legend():
    references = [hand.record("individual"), hand.record("pretrained", (0.5, 0.3))]
    assert not averages.accuracy_bars(
        table.build(references)
    ).legends  # an empty one is a warning, thus an error here
    named = averages.accuracy_bars(
        table.build([*references, hand.record("ties"), hand.record("ties", tadrop={})])
    )
    assert [text.get_text() for text in named.legends[0].texts] == ["plain", "+ TADrop"]


def test_a_method_without_its_plain_row_is_not_drawn_as_plain():
    made = table.build([hand.record("ties", tadrop={}), hand.record("emr")])
    rows, plain = methods.methods_of(made).values()
    assert list(rows) == ["TADrop"]
    assert list(plain) == [""]
    assert [
        text.get_text() for text in averages.accuracy_bars(made).legends[0].texts
    ] == [
        "plain",
        "+ TADrop",
    ]


def varied(*settings, order=("tadrop",)):
    """Records of TIES, plain and with each of some settings of TADrop and its control."""
    yield hand.record("ties", before=order)
    for setting in settings:
        for assign in ("adaptive", "uniform"):
            node = setting | {"assign": assign}
            yield hand.record("ties", tadrop=node, before=order)


def test_a_figure_of_settings_draws_each_of_them():
    in_its_place = varied({"norm": "l1"}, {"norm": "l2"})
    ahead = varied({"norm": "l2"}, order=("tadrop", "sparsify"))
    made = table.build([*in_its_place, *list(ahead)[1:]])
    found = methods.settings_of(made)
    assert list(found) == [
        "TIES, norm=l1",
        "TIES, norm=l2",
        "TIES, before",
    ]
    assert all(list(rows) == ["", "TADrop", "uniform"] for rows in found.values())
    assert [
        text.get_text() for text in contents.accuracy(made).axes[0].get_yticklabels()
    ] == list(reversed(found))
    alone = table.build(list(varied({"norm": "l1"})))
    assert methods.settings_of(alone) == {}
    assert list(methods.methods_of(alone)["TIES"]) == [
        "",
        "TADrop",
        "uniform",
    ]
    many = varied(*({"q_lo": at / 100} for at in range(contents.MOST_LINES + 1)))
    assert contents.accuracy(table.build(list(many))) is None


def test_a_density_that_is_set_is_the_axis_of_a_figure():
    records = [hand.record("ties", (0.4, 0.2)), hand.record("emr")]
    for density, value in ((0.5, 0.9), (0.1, 0.6), (0.1, 0.8)):
        for assign in ("adaptive", "pooled"):
            node = {"density": density, "assign": assign}
            records.append(hand.record("ties", (value, value), tadrop=node))
    figure = sweeps.density_curves(records, "two tasks")
    (axes,) = figure.axes
    assert axes.get_title() == "TIES"
    level, adaptive, pooled = axes.get_lines()
    assert list(level.get_ydata()) == pytest.approx([30, 30])
    for line in (adaptive, pooled):
        assert list(line.get_xdata()) == [0.1, 0.5]
        assert list(line.get_ydata()) == pytest.approx([70, 90])
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts == ["plain", "+ TADrop", "+ one threshold"]
    assert sweeps.density_curves([records[0], *records[-2:]]) is None
    assert sweeps.density_curves([hand.record("ties", tadrop={})]) is None


LONG = [
    "attention.attention.query.weight",
    "attention.output.dense.weight",
    "layer_scale1.lambda1",
    "mlp.fc1.weight",
]


@pytest.fixture(scope="module")
def deep():
    """The statistics of a model of twelve blocks whose tensors have long names."""
    names = [f"encoder.layer.{i}.{kind}" for i in range(12) for kind in LONG]
    names += ["embeddings.patch_embeddings.projection.weight", "layernorm.weight"]
    return pd.DataFrame({"tensor": names, "ratio": 0.4, "sparsity": 0.4, "scale": 1.5})


def test_a_map_of_a_deep_model_has_its_blocks_in_order_and_no_number_on_another(deep):
    figure = tensors.sparsity_map(deep)
    figure.draw_without_rendering()
    inner = figure.axes[0]
    assert [label.get_text() for label in inner.get_xticklabels()] == [
        str(i) for i in range(12)
    ]
    for axes in figure.axes[:2]:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    labels = [label.get_window_extent() for label in inner.get_xticklabels()]
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[:i])


def test_a_profile_s_legend_stays_in_the_figure(deep):
    figure = tensors.tensor_profile(deep)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert {text.get_text() for text in legend.texts} == set(LONG)
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[:i])


def test_gains_draws_every_method_that_has_both_rows(rendered):
    made, _, _ = rendered
    labels = [
        text.get_text() for text in averages.gains(made).axes[0].get_yticklabels()
    ]
    assert sorted(labels) == sorted(
        name for name, rows in methods.methods_of(made).items() if "TADrop" in rows
    )


def test_gains_stand_beside_what_is_left_of_them_against_the_control(rendered):
    made, _, _ = rendered
    _, right = averages.gains(made).axes
    rows = [
        rows["TADrop"]
        for _, rows in methods.methods_of(made).items()
        if "TADrop" in rows
    ]
    controlled = [row.versus for row in rows if row.versus is not None]
    drawn = [
        float(each.get_offsets()[0][0])
        for each in right.collections
        if len(each.get_offsets())
    ]
    assert controlled
    assert sorted(drawn) == pytest.approx(sorted(controlled))
    bare = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    assert len(averages.gains(bare).axes) == 1


def test_lambda_curves_show_the_grid_and_ring_the_choice(tmp_path):
    synthetic.fill(tmp_path, "sweep_lambda", ["merge=task_arithmetic", "limit=7"])
    records = record.read_all(tmp_path)
    figure = sweeps.lambda_curves(records)
    (axes,) = [axes for axes in figure.axes if axes.get_visible()]
    lines = {
        line.get_label(): line
        for line in axes.lines
        if not line.get_label().startswith("_")
    }
    assert lines.keys() == {"plain", "+ TADrop", "+ uniform control"}
    chosen = next(
        one
        for one in records
        if one["selection"]["rule"] == "grid" and one["config"]["tadrop"] is None
    )
    grid = chosen["selection"]["grid"]
    assert lines["plain"].get_xdata().tolist() == [x for x, _ in grid]
    assert lines["plain"].get_ydata().tolist() == pytest.approx(
        [100 * y for _, y in grid]
    )
    assert (
        sweeps.lambda_curves(
            [one for one in records if one["selection"]["rule"] == "fixed"]
        )
        is None
    )


def test_a_quantile_grid_is_of_one_method_and_one_norm():
    pairs = [(0.5, 0.9), (0.5, 0.95), (0.8, 0.9), (0.8, 0.95)]
    records = [
        hand.record(
            "ties", (value, value), tadrop={"q_lo": lo, "q_hi": hi, "norm": norm}
        )
        for value, norm in ((0.5, "l1"), (0.9, "l2"))
        for lo, hi in pairs
    ]
    grids = sweeps.quantile_grid(
        [*records, hand.record("ties"), hand.record("emr", tadrop={})]
    )
    assert grids.keys() == {"TIES, norm l1", "TIES, norm l2"}
    assert grids["TIES, norm l1"].to_numpy().tolist() == [[50, 50], [50, 50]]
    assert grids["TIES, norm l2"].loc[0.8, 0.95] == pytest.approx(90)


def test_task_counts_need_two_numbers_of_tasks(rendered):
    made, _, _ = rendered
    assert sweeps.task_counts([made]) is None
    fewer = table.Table(made.title, made.tasks[:4], made.rows)
    figure = sweeps.task_counts([made, fewer])
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [4, 8]


def test_cosines_are_those_of_the_flat_vectors():
    found = cosines(golden())
    for a in TAUS:
        for b in TAUS:
            expected = torch.cosine_similarity(
                flat(TAUS[a]).double(), flat(TAUS[b]).double(), dim=0
            )
            assert found.loc[a, b] == pytest.approx(float(expected), abs=1e-6)
    assert tensors.similarity(found).axes


def test_the_cosine_of_a_zero_vector_is_zero():
    zero = {name: torch.zeros_like(tau) for name, tau in TAUS["t1"].items()}
    found = cosines(stream_of({"t1": TAUS["t1"], "zero": zero}))
    assert found.loc["t1", "zero"] == 0


def test_labels_hide_neither_points_nor_lines_nor_one_another():
    rng = np.random.default_rng(0)
    x, y = 10 ** rng.uniform(0, 3, 25), rng.uniform(40, 100, 25)
    crowd = [
        (30.0, 90.0),
        (31.0, 90.3),
        (30.5, 89.7),
        (30.2, 90.1),
    ]  # four names for one spot, beside a line
    figure = new_figure(6.8, 4.4)
    axes = figure.subplots()
    axes.scatter([*x, *(a for a, _ in crowd)], [*y, *(b for _, b in crowd)], s=26)
    axes.axhline(90.5)
    axes.set_xscale("log")
    named = [
        (f"method {i}", a, b) for i, (a, b) in enumerate(zip(x[:8], y[:8], strict=True))
    ]
    placed = label_points(
        axes, named + [(f"crowded {i}", *at) for i, at in enumerate(crowd)]
    )
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in placed]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    points = axes.transData.transform(axes.collections[0].get_offsets())
    assert not any(box.contains(*point) for box in boxes for point in points)
    level = axes.transData.transform((1, 90.5))[1]
    assert not any(box.y0 < level < box.y1 for box in boxes)
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    for label in placed:  # one that had to go far is tied to its point
        assert (label.arrow_patch is not None) == (np.hypot(*label.xyann) > LEADER)


CONTROLS = ("uniform", "inverted", "shuffled", "pooled")


def every_setting():
    """TIES and EMR, plain, with TADrop and with each control of it."""
    for method in ("ties", "emr"):
        yield hand.record(method)
        for assign in ("adaptive", *CONTROLS):
            yield hand.record(method, tadrop={"norm": "l1", "assign": assign})


def test_bars_show_every_setting_and_the_title_names_them():
    figure = averages.accuracy_bars(table.build(list(every_setting())))
    (axes,) = figure.axes
    labels = [style.STYLES[name].label for name in ("", "TADrop", *CONTROLS)]
    assert [text.get_text() for text in figure.legends[0].texts] == labels
    bars = [bar for container in axes.containers for bar in container]
    assert len(bars) == 2 * len(labels)
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    for (_, end), (start, _) in pairwise(edges):
        assert end <= start + 1e-9  # no bar hides another
    assert all(label in axes.get_title() for label in labels)


def test_the_title_of_settings_says_what_differs():
    made = table.build(list(varied({"norm": "l1"}, {"norm": "l2"})))
    title = contents.accuracy(made).get_suptitle()
    assert title == f"{made.title}: TADrop by norm"
    plain = averages.gains(table.build(list(varied({"norm": "l1"}))))
    assert plain.get_suptitle().endswith("plain, with TADrop, with its control")


def test_equal_averages_stand_beside_one_another():
    made = table.build(list(varied({"norm": "l1"})))
    (left, *_) = averages.gains(made).axes
    places = [tuple(dots.get_offsets()[0]) for dots in left.collections]
    assert len({x for x, _ in places}) == 1
    assert len(set(places)) == len(places) == 3


@pytest.mark.parametrize(
    ("interval", "filled"), [((-0.3, -0.04), False), ((-0.3, -0.06), True)]
)
def test_a_marker_is_hollow_where_the_interval_ends_at_zero_as_printed(
    interval, filled
):
    axes = new_figure(2, 2).subplots()
    row = table.build([hand.record("ties")]).rows[0]
    averages._versus(axes, replace(row, versus=-0.1, versus_interval=interval), 0)
    (colour,) = axes.collections[0].get_facecolor()
    assert (tuple(colour[:3]) != (1, 1, 1)) == filled


def test_points_that_would_hide_one_another_are_spread():
    crowd = [(318e3, 60 + level / 10) for level in range(40)] + [(1e6, 90.0)]
    spread = boards._spread(crowd)
    assert [y for _, y in spread] == [y for _, y in crowd]
    assert spread[-1] == pytest.approx((1e6, 90.0))
    logs = [(np.log10(x), y) for x, y in spread]
    wide = boards.SIDE * (np.log10(1e6) - np.log10(318e3))
    for index, (x, y) in enumerate(logs):
        for a, b in logs[:index]:
            assert abs(x - a) > 0.98 * wide or abs(y - b) >= boards.RISE * 30 * 0.99


def test_lines_that_coincide_are_drawn_once_and_named_together():
    lines = {"EMR": [90, 80], "TSV-C": [95, 93], "EMR (code)": [90.3, 79.8]}
    drawn = boards._together(lines)
    assert drawn == {"EMR": "EMR, EMR (code)", "TSV-C": "TSV-C"}


@pytest.mark.parametrize(
    "what", ["accuracy", "tasks_ties", "quantiles_emr__norm_l1", "l2"]
)
def test_a_figure_is_described_in_words(what):
    said = described("glyph_vit, 8 tasks", what)
    assert said.startswith("glyph_vit, 8 tasks: ")
    assert len(said.split()) > 10
    assert "_" not in said.removeprefix("glyph_vit")
