"""A row is values; columns and formats write it down, and a new column is one function."""

import pytest

from tadrop.results import columns, formats, table
from tadrop.results.html.tables import html_table
from tadrop.results.table import build
from tests.records import record


def test_a_row_holds_values():
    rule = ["tadrop", "sparsify"]
    order = {"before": ("sparsify",)}  # a row with a rule of its own
    made = build(
        [
            record("ties", **order),
            record("ties", tadrop={"norm": "l1"}, before=rule),
            record("ties", tadrop={"norm": "l2"}, before=rule),
            record("ties", tadrop={"assign": "uniform"}, before=["tadrop"]),
        ]
    )
    plain, first, second, control = made.rows
    assert (plain.method, plain.title, plain.variant) == ("ties", "TIES", "")
    assert [row.variant for row in made.rows[1:]] == ["TADrop", "TADrop", "uniform"]
    assert [row.below for row in made.rows] == [False, True, True, True]
    assert plain.before == ("sparsify",)
    assert first.before == second.before == ("tadrop", "sparsify")
    assert control.before == ("tadrop",)
    assert first.settings == {"tadrop.norm": "l1"}
    assert second.settings == {"tadrop.norm": "l2"}
    assert plain.settings == control.settings == {}
    assert plain.scales == (0.3,)
    assert [formats.indented(row) for row in made.rows] == [
        "TIES",
        "  + TADrop, before (norm=l1)",
        "  + TADrop, before (norm=l2)",
        "  + uniform",
    ]


def test_what_stands_after_the_rule_of_a_row_says_so():
    after = record("ties", tadrop={}, before=["sparsify", "tadrop"])
    (row,) = build([after]).rows
    assert formats.label(row) == "TIES + TADrop, after"


def test_scales_that_seeds_chose_stand_beside_one_another():
    chosen = [record("dare", seed=seed, chance=True) for seed in (0, 1)]
    chosen[1]["selection"] = {**chosen[1]["selection"], "scale": 0.25}
    made = build(chosen)
    (row,) = made.rows
    assert row.scales == (0.25, 0.3)
    cells = dict(zip(columns.headings(made), formats.texts(made, row), strict=True))
    assert cells["lambda"] == "0.25/0.3"


def test_a_column_is_one_function(monkeypatch):
    def worst(row, table):
        value = min(row.values[task] for task in table.tasks)
        return columns.Cell(f"{value:.0f}", {"worst": value})

    monkeypatch.setitem(columns.COLUMNS, "worst", worst)
    made = build([record("ties", (0.9, 0.7)), record("ties", (0.8, 0.6), tadrop={})])
    assert formats.markdown(made).splitlines()[2].endswith("| lambda | worst |")
    assert formats.markdown(made).splitlines()[4].endswith("| 0.3 | 70 |")
    head, _, with_tadrop = formats.csv(made).splitlines()
    row = dict(zip(head.split(","), with_tadrop.split(","), strict=True))
    assert row["worst"] == "60.000000"
    assert r"& worst \\" in formats.latex(made)
    assert "<button>worst</button>" in html_table(made)
    assert ">60</a>" in html_table(made)


def test_every_row_has_the_same_fields_in_the_csv_file():
    made = table.with_data(
        build([record("individual"), record("ties"), record("ties", tadrop={})])
    )
    names = [
        [*field.values] for row in made.rows for field in columns.all_cells(made, row)
    ]
    assert names[: len(names) // 3] * 3 == names


@pytest.mark.parametrize(
    ("interval", "sign"),
    [((0.1, 2.0), 1), ((-2.0, -0.1), -1), ((-1.0, 1.0), 0), (None, 0)],
)
def test_a_difference_counts_where_its_interval_leaves_out_zero(interval, sign):
    assert columns.Cell("", interval=interval).sign == sign


def test_the_caption_says_how_q_k_and_v_are_packaged():
    def packaged(name, word):
        made = record(name)
        config = made["config"]
        model = {**config["model"], "packaging": word}
        return {**made, "config": {**config, "model": model}}

    split, fused = packaged("ties", "split"), packaged("emr", "fused")
    individual = packaged("individual", "split")
    said = "q, k and v: one tensor (fused) in EMR; else three (split)."
    assert said in build([individual, split, fused]).caption
    assert "q, k and v: one tensor (fused). " in build([individual, fused]).caption
    assert "q, k and v: three tensors (split). " in build([split]).caption
    assert "q, k and v" not in build([record("ties")]).caption


def test_norm_is_the_mean_of_the_tasks_ratios():
    """By hand: (0.5 / 1.0 + 0.4 / 0.5) / 2, where the ratio of means is 0.9 / 1.5."""
    individual = record("individual", (1.0, 0.5))
    made = build([individual, record("ties", (0.5, 0.4))])
    row = made.rows[-1]
    assert row.normalised == pytest.approx(65.0)
    cells = dict(zip(columns.headings(made), formats.texts(made, row), strict=True))
    assert cells["norm"] == "65.0"


def test_norm_of_several_seeds_is_the_mean_of_theirs():
    individual = record("individual", (1.0, 0.5))
    seeds = [
        record("dare", values, seed=seed, chance=True)
        for seed, values in enumerate([(0.5, 0.4), (0.7, 0.2)])
    ]
    (_, row) = build([individual, *seeds]).rows
    assert row.normalised == pytest.approx((65.0 + 55.0) / 2)


def test_a_key_has_a_seed_only_where_a_node_takes_it():
    plain = {record("ties", seed=seed)["key"] for seed in (0, 1, 2)}
    drawn = {record("dare", seed=seed, chance=True)["key"] for seed in (0, 1, 2)}
    assert len(plain) == 1
    assert len(drawn) == 3
    assert record("ties", seed=3)["config"]["seed"] is None
    assert record("dare", seed=3, chance=True)["config"]["seed"] == 3
    shuffled = {"assign": "shuffled"}
    keys = set()
    for seed in (0, 1):
        keys.add(record("ties", tadrop=shuffled | {"seed": seed}, seed=seed)["key"])
    assert len(keys) == 2
    assert len({record("ties", tadrop={}, seed=seed)["key"] for seed in (0, 1)}) == 1
