"""Figures inside the page: smaller than matplotlib writes them, and each one once."""

import io
import re
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = r'(href="|url\()#([^")]+)'
PIXELS = 96  # of an inch, as browsers count
# What a data address may hold unquoted.
SAFE = " <>'=:/;,()+!?*-._~{}@&|[]"


def small(svg: str) -> str:
    """An SVG of matplotlib's without what only an editor reads.

    It is a third of the length and the same picture. Metadata, line breaks, names that
    nothing refers to and groups without attributes go; positions keep two decimals; the
    font is named once, and every style.
    """
    tags = _Tags(svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r"<[^>]*>", tags.rewrite, svg)
    svg = re.sub(r">\s+<", "><", svg).strip()
    rules = "text{font-family:DejaVu Sans,Verdana,Arial,sans-serif}"
    for style, name in tags.styles.items():
        rules += f".{name}{{{style}}}"
    return svg.replace("</style>", f"{rules}</style>", 1)


class _Tags:
    """Rewrites the tags of one SVG in their order.

    names: the short name of everything that is referred to
    styles: the class of every style so far
    """

    def __init__(self, svg: str) -> None:
        self.names: dict[str, str] = {}
        for _, name in re.findall(REFERENCE, svg):
            self.names.setdefault(name, f"i{len(self.names)}")
        self.styles: dict[str, str] = {}
        self._kept: list[bool] = []  # of the groups that are open at this place

    def rewrite(self, match: re.Match[str]) -> str:
        """A tag in its short form; nothing for a group without attributes."""
        tag = re.sub(r"\s+", " ", match[0])
        tag = re.sub(r' id="([^"]*)"', self._identifier, tag)
        tag = re.sub(REFERENCE, self._reference, tag)
        tag = tag.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
        tag = tag.replace("xlink:href", "href")
        tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
        tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
        tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)
        tag = tag.replace("#000000", "#000").replace("#ffffff", "#fff")
        if tag.startswith("<path"):
            tag = re.sub(r" ?([MLCQz]) ?(?=[-\d\"MLCQz ])", r"\1", tag)
        tag = re.sub(r"(?<=[:;]) | (?=/?>)", "", tag).replace('"', "'")
        tag = re.sub(r"style='([^']*)'", self._style, tag)
        if re.match("<g[ >]", tag) and not tag.endswith("/>"):
            self._kept.append(tag != "<g>")
            return tag if self._kept[-1] else ""
        return tag if tag != "</g>" or self._kept.pop() else ""

    def _identifier(self, match: re.Match[str]) -> str:
        name = match[1]
        return f' id="{self.names[name]}"' if name in self.names else ""

    def _reference(self, match: re.Match[str]) -> str:
        return f"{match[1]}#{self.names[match[2]]}"

    def _style(self, match: re.Match[str]) -> str:
        name = self.styles.setdefault(match[1], f"s{len(self.styles)}")
        return f"class='{name}'"


def picture(figure: "Figure", name: str, anchors: dict[str, str], alt: str = "") -> str:
    """A figure inside the page, or a link to the same one where it stands already.

    It is an image, so that the names inside two figures cannot meet.
    name: the section's and the figure's, as `demo: accuracy`
    alt: what it shows, for those who do not see it
    anchors: the name in the page of every picture so far, which is added to
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = quote(small(buffer.getvalue()), safe=SAFE)
    section, _, what = name.partition(": ")
    if data in anchors:
        return f'<p>{escape(what)}: <a href="#{anchors[data]}">as above</a></p>'
    anchors[data] = f"{section}.{what}"
    width, height = PIXELS * figure.get_size_inches()
    return (
        f'<figure id="{anchors[data]}"><img alt="{escape(alt or name)}" '
        f'width="{round(width)}" height="{round(height)}" loading="lazy" '
        f'src="data:image/svg+xml,{data.replace("&", "&amp;")}"></figure>'
    )
