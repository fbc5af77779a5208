"""Lists every row: its name, what it is, its paper and the data that it sees.

    tadrop methods                   a table for the terminal
    tadrop methods ties pcb          the rows whose name, title or paper has these words
    tadrop methods --markdown        the same as Markdown; in a pipe, a line a row

What a row says of itself is in its file, conf/merge/NAME.yaml.
"""

import argparse
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from tadrop.app.boards.catalogue import MergeRow, merge_rows
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.errors import TadropError

HEADINGS = ("merge=", "what it is", "paper", "sees", "a run takes")
NARROW = 100  # columns of a terminal: on less, paper and data stand below the words


def cells(row: MergeRow) -> tuple[str, ...]:
    """What is said of a row, in the order of HEADINGS."""
    paper = (row.paper or "").removeprefix("arXiv ")
    return row.name, row.about, paper, row.data, row.cost


def chosen(words: Sequence[str]) -> list[MergeRow]:
    """The rows that have one of the words in name, title or paper; all without words.

    Raises TadropError for a word that no row has.
    """
    rows = list(merge_rows().values())
    named: set[str] = set()
    for word in words:
        there = set()
        for row in rows:
            if _has(row, word.lower()):
                there.add(row.name)
        if not there:
            raise TadropError(f"no row has {word!r}; tadrop methods lists all")
        named |= there
    return list(filter(lambda row: not words or row.name in named, rows))


def _has(row: MergeRow, word: str) -> bool:
    return word in f"{row.name} {row.title} {row.paper}".lower()


def markdown(rows: Iterable[MergeRow]) -> str:
    """The rows as a table that GitHub and MkDocs read."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + ":--|" * len(HEADINGS)]
    for row in rows:
        name, *rest = cells(row)
        lines.append(f"| {' | '.join([f'`{name}`', *rest])} |")
    return "\n".join(lines)


def sheet(rows: Iterable[MergeRow], width: int) -> Table:
    """The rows as a table of at most so many characters."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    headings = HEADINGS if width >= NARROW else HEADINGS[:2]
    for heading in headings:
        is_words = heading == HEADINGS[1]
        table.add_column(heading, overflow="fold", no_wrap=not is_words)
    for row in rows:
        name, about, *rest = cells(row)
        if width >= NARROW:
            table.add_row(*map(Text, (name, about, *rest)))
        else:
            paper, data, cost = rest
            known = filter(None, (paper, f"sees {data}", cost))
            table.add_row(Text(name), Text(f"{about} ({', '.join(known)})"))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only rows that have one of these")
    parser.add_argument("--markdown", action="store_true", help="as Markdown")
    options = parser.parse_args()
    with told_in_one_line():
        rows = chosen(options.words)
    if out.is_terminal and not options.markdown:
        out.print(sheet(rows, out.width))
        return
    lines = map("\t".join, map(cells, rows))
    text = markdown(rows) if options.markdown else "\n".join(lines)
    # As it is: rich would break lines and make spaces of tabs.
    out.file.write(f"{text}\n")


if __name__ == "__main__":
    main()
