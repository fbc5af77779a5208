"""The page of results fetches nothing, links its records and shows the table's numbers."""

import csv
import html
import json
import re
import shlex
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.boards import contents
from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources, table_of
from tadrop.app.boards.recorded import collect, recorded
from tadrop.app.places import CONF
from tadrop.app.verbs.boards import report
from tadrop.results import columns, formats, identity, record, table
from tadrop.results.figures.style import save
from tadrop.results.figures.tensors import sparsity_map
from tadrop.results.html.pictures import picture, small
from tadrop.results.html.tables import html_cell
from tadrop.types import TadropError
from tests import records as hand
from tests import synthetic


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
    demo = recorded(Board("demo"), folder)
    return report.build([demo], Sources(folder, folder / "none")), folder, keys


def by_hydra(command):
    """The configuration that a command line of run.py composes."""
    words = shlex.split(command.removeprefix("python run.py "))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", words), resolve=True)


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
    commands = recorded(Board("demo"), folder).commands
    for key, command in list(commands.items())[:6]:
        assert identity.key(by_hydra(command)) == key


def test_the_commands_of_a_sweep_on_validation_data_make_its_records():
    """The split is said by the board's file and not by its sweep."""
    found = recorded(Board("sweep_map"), Path("nowhere"))
    for key, command in found.commands.items():
        assert identity.key(by_hydra(command)) == key


def test_a_sweep_of_tadrop_alone_is_compared_with_plain_rows(tmp_path):
    for board in ("ablation_norm", "demo"):
        synthetic.fill(tmp_path, board)
    sources = Sources(tmp_path, tmp_path / "none")
    found = collect(Board("ablation_norm"), tmp_path, partial=True)
    section = report.section_of(found, sources)
    as_rendered = table_of(found.records, sources)
    labels = [formats.label(row) for row in section.tables[0].rows]
    assert labels == [formats.label(row) for row in as_rendered.rows]
    assert "TIES" in labels
    plain = [one["key"] for one in found.records if one["config"]["tadrop"] is None]
    assert len(plain) == 5  # two references, three methods
    for key in plain:
        assert identity.key(by_hydra(found.commands[key])) == key


def test_the_page_opens_with_what_was_found_and_boards_stand_first(filled, tmp_path):
    folder, _ = filled
    words = ("tasks=glyph8", "merge=average,ties")
    synthetic.fill(tmp_path, "leaderboard", words)
    boards = [
        recorded(Board("demo"), folder),
        recorded(Board("leaderboard", words), tmp_path),
    ]
    text = report.build(boards, Sources(folder, folder / "none"))
    opening = text.index('<section id="found">')
    board = text.index('<section id="leaderboard_glyph8">')
    demo = text.index('<section id="demo">')
    assert opening < board < demo < text.index('<section id="records">')
    said = text[opening:board]
    assert "Best without TADrop: " in said
    assert "<h2>glyph_vit, 8 tasks: every method of the catalogue" in text
    titles = re.findall("<h2>(.*?)<", text)
    assert not [title for title in titles if "_glyph" in title or title == "demo"]


def test_averages_stand_before_tasks(page, rendered):
    text, _, _ = page
    made, _, _ = rendered
    heads = re.findall("<th scope='col'[^>]*><button>(.*?)<", text.split("</thead>")[0])
    count = len(made.columns)
    ordinary = columns.headings(made)
    assert heads == ["method", *ordinary[count:], *ordinary[:count]]


def test_pictures_are_described(page):
    text, _, _ = page
    words = re.findall(r'<img alt="([^"]*)"', text)
    assert words
    assert all(len(alt.split()) > 8 for alt in words), words
    assert len(set(words)) == len(words)


def test_an_interval_that_ends_at_zero_as_printed_is_not_coloured():
    made = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    row = made.rows[1]
    for interval, sign in (
        ((-0.3, -0.04), 0),
        ((0.04, 0.3), 0),
        ((-0.3, -0.06), -1),
        ((0.06, 0.3), 1),
    ):
        shown = replace(row, interval=interval)
        cell = columns.COLUMNS["diff"](shown, made)
        assert cell.sign == sign, interval
        assert ("class=" in html_cell(cell, shown)) == bool(sign)


def test_numbers_in_the_page_are_the_table_s(page, rendered):
    text, _, _ = page
    made, _, _ = rendered
    row = next(row for row in made.rows if row.difference is not None)
    for heading, cell in zip(
        columns.headings(made), formats.texts(made, row), strict=True
    ):
        assert f"<a href=#{row.keys[0]}>{cell}</a>" in text or not cell, heading


@pytest.mark.parametrize(
    ("stored", "text", "bytes_"),
    [
        (2 * 1_270_000, "1.27 MB", 1.27e6),
        (2 * 952_000, "952 kB", 952e3),
        (2 * 3, "3 B", 3),
        (0, "0", None),
    ],
)
def test_sizes_sort_by_their_bytes(stored, text, bytes_):
    made = table.with_data(table.build([hand.record("ties")]))
    row = replace(made.rows[0], stored_bytes=stored)
    cell = columns.COLUMNS["stored"](row, made)
    assert cell.text == text
    found = re.search(r'data-n="([^"]*)"', html_cell(cell, row))
    assert (float(found[1]) if found else None) == bytes_


def test_two_scales_sort_as_the_first():
    made = table.build([hand.record("ties")])
    row = replace(made.rows[0], scales=(0.3, 0.4))
    cell = columns.COLUMNS["lambda"](row, made)
    assert cell.text == "0.3/0.4"
    assert "data-n" not in html_cell(cell, row)


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

    for name, figure in contents.figures_of(made, records, folder):
        path, _ = save(figure, tmp_path / name)
        whole = path.read_text()
        shrunk = small(whole)
        assert len(shrunk) < 0.5 * len(whole)
        assert drawing(shrunk) == drawing(whole)
        ids = set(re.findall(r" id='([^']+)'", shrunk))
        assert set(re.findall(r"#(i\d+)", shrunk)) == ids
        assert not re.search(r"style='", shrunk)


def test_a_figure_that_two_sections_share_stands_in_the_page_once():
    frame = pd.DataFrame({"tensor": ["blocks.0.w", "head"], "sparsity": [0.1, 0.4]})
    seen = {}
    first, second = (
        picture(sparsity_map(frame), f"{name}: map", seen) for name in ("a", "b")
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
    filled, tmp_path
):
    folder, of_demo = filled
    for n in (2, 8):
        words = (f"tasks=glyph{n}", "merge=average,ties")
        synthetic.fill(tmp_path, "leaderboard", words)
    boards = [
        recorded(
            Board("leaderboard", (f"tasks=glyph{n}", "merge=average,ties")), tmp_path
        )
        for n in (2, 8)
    ]
    assert [len(board.records) for board in boards] == [6, 6]
    assert not any(board.owed for board in boards)
    demo = recorded(Board("demo"), folder)
    text = report.build([demo, *boards], Sources(folder, folder / "none"))
    assert '<figure id="leaderboard_tasks.tasks">' in text
    assert {target.removeprefix("#") for target in Links(text).targets} <= set(
        Links(text).ids
    )
    for key, command in (pair for board in boards for pair in board.commands.items()):
        assert f'<details id="{key}">' in text
        assert (
            f"<code>{command} overwrite=true</code>" in text or key in of_demo
        )  # which came first


def test_what_is_owed_is_left_out_of_a_page_that_is_committed(filled):
    folder, _ = filled
    demo = recorded(Board("demo"), folder)
    text = report.build([demo], Sources(folder, folder / "none"), owed=False)
    assert "have no record yet" not in text


def test_a_report_of_nothing_says_what_to_run(tmp_path):
    with pytest.raises(TadropError, match=r"begin with: python run.py \+board=demo"):
        report.build([], Sources(tmp_path, tmp_path))


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

PROBE = """<script>addEventListener("load", () => {
  const found = {}, table = document.querySelector("table");
  const style = getComputedStyle(document.body);
  found.colours = [style.color, style.backgroundColor];
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const heads = [...table.tHead.rows[0].cells];
  const at = heads.findIndex((head) => head.textContent === "avg");
  const sorted = () => {
    heads[at].querySelector("button").click();
    const rows = [...table.tBodies[0].rows];
    return rows.map((row) => [row.cells[0].innerText, row.cells[at].textContent]);
  };
  [found.down, found.up, found.original] = [sorted(), sorted(), sorted()];
  const cell = table.tBodies[0].rows[0].cells[at].getBoundingClientRect();
  found.average_ends = cell.right;
  const tools = table.parentNode.previousElementSibling;
  const inSight = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const set = (field, value) => {
    field.value = value;
    field.dispatchEvent(new Event("input"));
  };
  const search = tools.querySelector("input[type=search]");
  const filter = tools.querySelector("select");
  set(search, "ties");
  found.searched = inSight().map((row) => row.cells[0].innerText);
  set(filter, "TADrop");
  found.filtered = inSight().map((row) => row.cells[0].innerText);
  tools.querySelector(".columns input").click();
  found.saved = save(table);
  tools.querySelector(".columns input").click(); set(search, ""); set(filter, "");
  found.again = inSight().length;
  const boxes = inSight().slice(2, 5).map((row) => row.cells[0].querySelector("input"));
  for (const box of boxes.slice(0, 2)) box.click();
  const texts = (row) => [...row.cells].map((each) => each.textContent);
  const place = table.parentNode.nextElementSibling;
  const two = () => [...place.querySelectorAll("tr")].map(texts);
  found.compared = two();
  boxes[2].click();
  found.ticked = boxes.map((box) => box.checked);
  const link = table.tBodies[0].rows[5].cells[at].querySelector("a");
  for (const image of document.images) image.loading = "eager";
  link.click();
  setTimeout(() => {
    const opened = [...document.querySelectorAll("details[open]")];
    found.opened = opened.map((each) => "#" + each.id);
    Object.assign(found, { asked: link.hash, width: innerWidth });
    found.config = opened[0].querySelector("pre").textContent;
    found.pictures = [...document.images].map((image) => image.naturalWidth);
    found.fetched = performance.getEntriesByType("resource").map((each) => each.name);
    parent.postMessage(JSON.stringify(found), "*");
  }, 1000);
});</script>"""

FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", (event) => { document.title = event.data; });
// The frame has the width, as no window is narrower than 500.
</script><iframe src="report.html" style="border: 0; width: {width}px; height: 800px"></iframe>"""


def dumped(words):
    """What the browser makes of a page. It takes a second, but now and then never ends."""
    for _ in range(3):
        with suppress(subprocess.TimeoutExpired):
            ended = subprocess.run(
                [BROWSER, *words], capture_output=True, text=True, timeout=120
            )
            return ended.stdout
    raise AssertionError("the browser did not end within two minutes, three times")


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
    shown = dumped([*flags, frame.as_uri()])
    found = json.loads(
        html.unescape(re.search(r"<title>(.*?)</title>", shown, re.S)[1])
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
    assert found["average_ends"] <= width
    assert found["searched"] == ["TIES", "TIES + TADrop", "TIES + uniform"]
    assert found["filtered"] == ["TIES + TADrop"]
    ties = next(row for row in made.rows if formats.label(row) == "TIES")
    adaptive = made.rows[made.rows.index(ties) + 1]
    count = len(made.columns)
    summary = formats.texts(made, adaptive)[count:]
    headings = columns.headings(made)[count:]
    saved = list(csv.reader(found["saved"].splitlines()))
    assert saved == [["method", *headings], ["TIES + TADrop", *summary]]
    assert found["again"] == len(made.rows)
    plain, with_tadrop = made.rows[2:4]
    head, average, *_ = found["compared"]
    assert head == [
        "",
        plain.title,
        f"{plain.title} + TADrop",
        "second less first",
    ]
    assert average[:3] == ["avg", f"{plain.average:.1f}", f"{with_tadrop.average:.1f}"]
    assert found["ticked"] == [False, True, True]  # the third takes the first's place
    assert found["opened"] == [found["asked"]]
    key = found["asked"].removeprefix("#")
    assert json.loads(found["config"]) == record.read(folder / f"{key}.json")["config"]
