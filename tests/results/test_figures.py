"""Figures come from records, the same bytes each time; cosines are those of the vectors; the report
is one page.
"""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from tadrop.app import boards as recipes
from tadrop.app.verbs import leaderboard, report, similarity
from tadrop.app.verbs import table as tables
from tadrop.results import figures, identity, plot, record, table
from tadrop.results.labels import LEADER, label_points
from tadrop.results.plot import new_figure
from tadrop.types import TadropError
from tests import records as hand
from tests import synthetic
from tests.golden import TAUS, flat, golden, stream_of


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The demo's records, but for some, and a small number of them with a grid."""
    folder = tmp_path_factory.mktemp("records")
    return folder, synthetic.fill(folder, "demo", skip=7)


@pytest.fixture(scope="module")
def rendered(filled):
    folder, _ = filled
    records = tables.collect("demo", folder, partial=True)
    return tables.made("demo", records, folder, folder / "none"), records, folder


def test_a_table_s_figures_are_the_same_bytes_each_time(rendered, tmp_path):
    made, records, folder = rendered
    runs = [tables.figures_of(made, records, folder) for _ in range(2)]
    names = [name for name, _ in runs[0]]
    assert {"accuracy", "sparsity", "profile"} <= set(names)
    assert any(name.startswith("tasks_") for name in names)
    paths = [plot.write_figures(tmp_path / str(i), run) for i, run in enumerate(runs)]
    assert {path.suffix for path in paths[0]} == {".svg", ".png"}
    assert [path.read_bytes() for path in paths[0]] == [
        path.read_bytes() for path in paths[1]
    ]


def test_a_table_of_references_alone_is_drawn_without_a_legend():
    references = [hand.record("individual"), hand.record("pretrained", (0.5, 0.3))]
    assert not plot.accuracy_bars(
        table.build(references)
    ).legends  # an empty one is a warning, thus an error here
    named = plot.accuracy_bars(
        table.build([*references, hand.record("ties"), hand.record("ties", tadrop={})])
    )
    assert [text.get_text() for text in named.legends[0].texts] == ["plain", "+ TADrop"]


def test_a_method_without_its_plain_row_is_not_drawn_as_plain():
    made = table.build([hand.record("ties", tadrop={}), hand.record("emr")])
    (_, rows), (_, plain) = plot.methods_of(made)
    assert list(rows) == ["TADrop"]
    assert list(plain) == [""]
    assert [text.get_text() for text in plot.accuracy_bars(made).legends[0].texts] == [
        "plain",
        "+ TADrop",
    ]


def varied(*settings):
    """A table of TIES, plain and with each of some settings of TADrop and its control."""
    nodes = [
        setting | {"assign": assign}
        for setting in settings
        for assign in ("adaptive", "uniform")
    ]
    return table.build(
        [
            hand.record("ties"),
            *(hand.record("ties", (0.9, 0.7), tadrop=node) for node in nodes),
        ]
    )


def test_a_figure_of_settings_draws_each_of_them():
    made = varied({"norm": "l1"}, {"norm": "l2"}, {"norm": "l2", "placement": "before"})
    found = plot.settings_of(made)
    assert [name for name, _ in found] == [
        "TIES, norm=l1",
        "TIES, norm=l2",
        "TIES, before",
    ]
    assert all(list(rows) == ["", "TADrop", "uniform"] for _, rows in found)
    assert [
        text.get_text() for text in tables.accuracy(made).axes[0].get_yticklabels()
    ] == [name for name, _ in reversed(found)]
    assert plot.settings_of(varied({"norm": "l1"})) == []
    assert list(dict(plot.methods_of(varied({"norm": "l1"})))["TIES"]) == [
        "",
        "TADrop",
        "uniform",
    ]
    many = varied(*({"q_lo": at / 100} for at in range(tables.MOST_LINES + 1)))
    assert tables.accuracy(many) is None


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
    figure = plot.sparsity_map(deep)
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
    figure = figures.tensor_profile(deep)
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
    labels = [text.get_text() for text in figures.gains(made).axes[0].get_yticklabels()]
    assert sorted(labels) == sorted(
        name for name, rows in plot.methods_of(made) if "TADrop" in rows
    )


def test_gains_stand_beside_what_is_left_of_them_against_the_control(rendered):
    made, _, _ = rendered
    _, right = figures.gains(made).axes
    rows = [rows["TADrop"] for _, rows in plot.methods_of(made) if "TADrop" in rows]
    controlled = [row.versus for row in rows if row.versus is not None]
    drawn = [
        float(each.get_offsets()[0][0])
        for each in right.collections
        if len(each.get_offsets())
    ]
    assert controlled
    assert sorted(drawn) == pytest.approx(sorted(controlled))
    bare = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    assert len(figures.gains(bare).axes) == 1


def test_lambda_curves_show_the_grid_and_ring_the_choice(tmp_path):
    synthetic.fill(tmp_path, "sweep_lambda", ["merge=task_arithmetic", "limit=7"])
    records = record.read_all(tmp_path)
    figure = figures.lambda_curves(records)
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
        figures.lambda_curves(
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
    grids = figures.quantile_grid(
        [*records, hand.record("ties"), hand.record("emr", tadrop={})]
    )
    assert grids.keys() == {"TIES, norm l1", "TIES, norm l2"}
    assert grids["TIES, norm l1"].to_numpy().tolist() == [[50, 50], [50, 50]]
    assert grids["TIES, norm l2"].loc[0.8, 0.95] == pytest.approx(90)


def test_task_counts_need_two_numbers_of_tasks(rendered):
    made, _, _ = rendered
    assert figures.task_counts([made]) is None
    fewer = table.Table(made.title, made.tasks[:4], made.rows)
    figure = figures.task_counts([made, fewer])
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [4, 8]


def test_cosines_are_those_of_the_flat_vectors():
    found = similarity.cosines(golden())
    for a in TAUS:
        for b in TAUS:
            expected = torch.cosine_similarity(
                flat(TAUS[a]).double(), flat(TAUS[b]).double(), dim=0
            )
            assert found.loc[a, b] == pytest.approx(float(expected), abs=1e-6)
    assert figures.similarity(found).axes


def test_the_cosine_of_a_zero_vector_is_zero():
    zero = {name: torch.zeros_like(tau) for name, tau in TAUS["t1"].items()}
    found = similarity.cosines(stream_of({"t1": TAUS["t1"], "zero": zero}))
    assert found.loc["t1", "zero"] == 0


class Links(HTMLParser):
    """What a page points at, and the names it has."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids, self.loaded = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.targets += [found["href"]] if tag == "a" else []
        self.loaded += [
            found[name] for name in ("src", "srcset", "action", "data") if name in found
        ]
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")


@pytest.fixture(scope="module")
def page(filled):
    folder, keys = filled
    return report.build(["demo"], folder, folder / "none"), folder, keys


def test_the_report_fetches_nothing(page):
    text, _, _ = page
    assert all(
        source.startswith("data:image/svg+xml,<svg ") for source in Links(text).loaded
    )
    assert "@import" not in text
    assert not re.search(
        r"url\((?!%23)|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org)", text
    )


def test_every_link_of_the_report_leads_somewhere_and_every_record_is_reached(page):
    text, folder, _ = page
    links = Links(text)
    assert len(links.ids) == len(set(links.ids))
    assert {target.removeprefix("#") for target in links.targets} <= set(links.ids)
    assert {path.stem for path in folder.glob("*.json")} <= {
        target.removeprefix("#") for target in links.targets
    }
    assert "of its runs have no record yet" in text


def test_the_commands_of_the_report_make_the_records_they_stand_beside(page):
    _, folder, _ = page
    _, commands, _ = report.gather("demo", folder, folder / "none")
    for key, command in list(commands.items())[:6]:
        words = command.removeprefix("python run.py ").replace("'", "").split()
        with recipes.initialize_config_dir(str(recipes.CONF), version_base="1.3"):
            config = OmegaConf.to_container(
                recipes.compose("config", words), resolve=True
            )
        assert identity.key(config) == key


def test_a_sweep_of_tadrop_alone_is_compared_with_plain_rows(tmp_path):
    for recipe in ("ablation_norm", "demo"):
        synthetic.fill(tmp_path, recipe)
    section, commands, found = report.gather(
        "ablation_norm", tmp_path, tmp_path / "none"
    )
    as_rendered = tables.made(
        "ablation_norm",
        tables.collect("ablation_norm", tmp_path, partial=True),
        tmp_path,
        tmp_path,
    )
    assert [row.label for row in section.tables[0].rows] == [
        row.label for row in as_rendered.rows
    ]
    assert "TIES" in [row.label for row in section.tables[0].rows]
    plain = [one["key"] for one in found if one["config"]["tadrop"] is None]
    assert len(plain) == 5  # two references, three methods
    with recipes.initialize_config_dir(str(recipes.CONF), version_base="1.3"):
        for key in plain:
            words = (
                commands[key].removeprefix("python run.py ").replace("'", "").split()
            )
            assert (
                identity.key(
                    OmegaConf.to_container(
                        recipes.compose("config", words), resolve=True
                    )
                )
                == key
            )


def test_numbers_in_the_page_are_the_table_s(page, rendered):
    text, _, _ = page
    made, _, _ = rendered
    row = next(row for row in made.rows if row.difference is not None)
    for heading, cell in zip(made.headings, made.cells(row), strict=True):
        assert f"<a href=#{row.keys[0]}>{cell}</a>" in text or not cell, heading


@pytest.mark.parametrize(
    ("cell", "bytes_"),
    [
        ("1.27 MB", 1.27e6),
        ("952 kB", 952e3),
        ("3 B", 3),
        ("0", None),
        ("0.3/0.4", None),
    ],
)
def test_sizes_sort_by_their_bytes(cell, bytes_):
    made = table.build([hand.record("ties")])
    found = re.search(r'data-n="([^"]*)"', report._cell("stored", cell, made.rows[0]))
    assert (float(found[1]) if found else None) == bytes_


def test_a_record_s_configuration_is_whole_though_its_pieces_are_shared(page):
    text, folder, _ = page
    configs = json.loads(re.search(r'id="configs">(.*?)</script>', text, re.S)[1])
    shown = re.findall(r'<details id="(\w+)">.*?data-parts="([\d ]+)"', text)
    assert {key for key, _ in shown} == {path.stem for path in folder.glob("*.json")}
    for key, parts in shown:
        joined = ",\n".join(configs[int(part)] for part in parts.split())
        assert f"{{\n{joined}\n}}" == json.dumps(
            record.read(folder / f"{key}.json")["config"], indent=1
        )


def test_a_small_figure_is_the_same_drawing(rendered, tmp_path):
    made, records, folder = rendered

    def drawing(svg):
        """Tags with their letters, and positions to a hundredth, in order; without metadata, groups
        and styles.
        """
        tags = [
            each
            for each in ElementTree.fromstring(svg).iter()
            if each.tag.startswith("{http://www.w3.org/2000/")
        ]
        tags = [
            each
            for each in tags
            if not each.tag.endswith(("}g", "}metadata", "}style"))
        ]
        numbers = [
            re.findall(r"(-?\d+(?:\.\d\d?)?)\d*", each.get("d", "") + each.get("x", ""))
            for each in tags
        ]
        return [(each.tag, (each.text or "").strip()) for each in tags], numbers

    for name, figure in tables.figures_of(made, records, folder):
        path, _ = plot.save(figure, tmp_path / name)
        whole = path.read_text()
        shrunk = report.small(whole)
        assert len(shrunk) < 0.5 * len(whole)
        assert drawing(shrunk) == drawing(whole)
        ids = set(re.findall(r" id='([^']+)'", shrunk))
        assert set(re.findall(r"#(i\d+)", shrunk)) == ids
        assert not re.search(r"style='", shrunk)


def test_a_figure_that_two_sections_share_stands_in_the_page_once():
    frame = pd.DataFrame({"tensor": ["blocks.0.w", "head"], "sparsity": [0.1, 0.4]})
    seen = {}
    first, second = (
        report.picture(plot.sparsity_map(frame), f"{name}: map", seen)
        for name in ("a", "b")
    )
    assert (
        ElementTree.fromstring(
            unquote(html.unescape(re.search(r'svg\+xml,([^"]*)', first)[1]))
        )
        is not None
    )
    assert 'id="a.map"' in first
    assert second == '<p>map: <a href="#a.map">as above</a></p>'


def test_a_board_stands_in_the_report_with_the_commands_of_its_records(
    filled, tmp_path, monkeypatch
):
    folder, of_demo = filled
    monkeypatch.setattr(leaderboard, "rows", lambda: ["average", "ties"])
    for line in (
        line
        for n in (2, 8)
        for line in leaderboard.recorded(f"glyph{n}", folder=tmp_path).lines.values()
    ):
        with recipes.initialize_config_dir(str(recipes.CONF), version_base="1.3"):
            synthetic.write(
                tmp_path,
                OmegaConf.to_container(
                    recipes.compose("config", line.split()), resolve=True
                ),
            )
    boards = [leaderboard.recorded(f"glyph{n}", folder=tmp_path) for n in (2, 8)]
    assert [len(board.records) for board in boards] == [6, 6]
    assert not any(board.owed for board in boards)
    text = report.build(["demo"], folder, folder / "none", boards)
    assert '<figure id="leaderboard_tasks.tasks">' in text
    assert {target.removeprefix("#") for target in Links(text).targets} <= set(
        Links(text).ids
    )
    for key, line in (pair for board in boards for pair in board.lines.items()):
        assert f'<details id="{key}">' in text
        assert (
            f"<code>python run.py {line} overwrite=true</code>" in text
            or key in of_demo
        )  # which came first


def test_a_report_of_nothing_says_what_to_run(tmp_path):
    with pytest.raises(
        TadropError, match=r"begin with: python run.py \+experiment=demo"
    ):
        report.build(["demo"], tmp_path, tmp_path)


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

PROBE = """<script>addEventListener("load", () => {
  const found = {}, table = document.querySelector("table"), style = getComputedStyle(document.body);
  found.colours = [style.color, style.backgroundColor];
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const heads = [...table.tHead.rows[0].cells], at = heads.findIndex((head) => head.textContent === "avg");
  const sorted = () => {
    heads[at].querySelector("button").click();
    return [...table.tBodies[0].rows].map((row) => [row.cells[0].innerText, row.cells[at].textContent]);
  };
  [found.down, found.up, found.original] = [sorted(), sorted(), sorted()];
  const link = table.tBodies[0].rows[5].cells[at].querySelector("a");
  for (const image of document.images) image.loading = "eager";
  link.click();
  setTimeout(() => {
    const opened = [...document.querySelectorAll("details[open]")];
    Object.assign(found, { asked: link.hash, opened: opened.map((each) => "#" + each.id), width: innerWidth });
    found.config = opened[0].querySelector("pre").textContent;
    found.pictures = [...document.images].map((image) => image.naturalWidth);
    found.fetched = performance.getEntriesByType("resource").map((each) => each.name);
    parent.postMessage(JSON.stringify(found), "*");
  }, 1000);
});</script>"""

FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", (event) => { document.title = event.data; });
# a window is >= 500
</script><iframe src="report.html" style="border: 0; width: {width}px; height: 800px"></iframe>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1600])
def test_the_report_in_a_browser(page, rendered, tmp_path, dark, width):
    text, folder, _ = page
    made, _, _ = rendered
    (tmp_path / "report.html").write_text(
        text.replace("</body>", PROBE + "</body>"), encoding="utf-8"
    )
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += [
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    flags += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1700,900",
        "--virtual-time-budget=10000",
    ]
    flags += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *flags, frame.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = json.loads(
        html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1])
    )
    assert found["width"] == width
    assert found["overflow"] <= 0
    assert found["fetched"] == []
    assert found["pictures"]
    assert all(found["pictures"])
    ink, paper = (
        sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in found["colours"]
    )
    assert (ink > paper) == dark
    assert abs(ink - paper) > 500
    averages = [float(cell) for _, cell in found["original"]]
    assert averages == pytest.approx([row.average for row in made.rows], abs=0.051)
    assert [float(cell) for _, cell in found["down"]] == sorted(averages, reverse=True)
    assert [float(cell) for _, cell in found["up"]] == sorted(averages)
    assert "TIES + TADrop" in dict(found["down"])  # its method is above it no longer
    assert "+ TADrop" in dict(found["original"])
    assert found["opened"] == [found["asked"]]
    key = found["asked"].removeprefix("#")
    assert json.loads(found["config"]) == record.read(folder / f"{key}.json")["config"]


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
