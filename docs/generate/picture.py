"""The picture of the demo's table: what a terminal of eighty columns shows, as SVG.

Letters keep their places whatever the font, and nothing is fetched for one.
"""

import io
from pathlib import Path

from rich.console import Console

from docs.generate.catalogue import RESULTS, ROOT
from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources, contents
from tadrop.app.boards.recorded import collect
from tadrop.app.terminal.sheets import fitted

PICTURE = ROOT / "docs" / "images" / "demo.svg"
COLUMNS = 80
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The table that make demo prints: five methods, each plain, with TADrop and with \
its control</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", \
monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" \
clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def picture() -> str:
    """The demo's averages and differences from the committed records."""
    records = RESULTS / "records"
    sources = Sources(records, RESULTS / "published")
    tables, _ = contents(collect(Board("demo"), records), sources, draw=False)
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
    )
    # The tasks stand in a table of their own below.
    console.print(next(fitted(tables["demo"], COLUMNS)))
    drawn = console.export_svg(title="make demo", unique_id="demo", code_format=FORMAT)
    lines = [line.rstrip() for line in drawn.splitlines()]
    return "\n".join(lines) + "\n"


def written() -> str:
    """The picture as it is committed."""
    return PICTURE.read_text(encoding="utf-8") if Path(PICTURE).exists() else ""
