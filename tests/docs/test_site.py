"""The built site asks nobody for anything; `make docs` builds it before these tests."""

import re
from pathlib import Path

import pytest

from tadrop.app.boards.catalogue import merge_rows

SITE = Path(__file__).parents[2] / "build" / "site"

pytestmark = pytest.mark.site


def test_pages_load_nothing_from_elsewhere():
    pages = list(SITE.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:script|img|iframe|source)[^>]* src=\"?([^\" >]+)", text
        )
        if page.name != "report.html":  # it loads nothing at all: tests/results
            assert loaded
        loaded += re.findall(r"<link[^>]* href=\"?([^\" >]+)", text)
        assert [where for where in loaded if re.match("(https?:)?//", where)] == [], (
            page
        )


def test_styles_load_nothing_from_elsewhere():
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\([\"']?(https?:)?//", text), sheet


def test_every_row_has_its_page():
    for name in merge_rows():
        text = (SITE / "methods" / f"{name}.html").read_text(encoding="utf-8")
        assert 'id="formula"' in text


def test_no_place_for_a_number_is_left_open():
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "{{" not in re.sub(r"<script.*?</script>", "", text, flags=re.S), page
