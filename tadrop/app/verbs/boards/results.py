"""Renders everything in results/ anew from the records: tables, figures, the report.

    tadrop results                   writes what the records can fill
    tadrop results demo table_glyph8 only these files
    tadrop results --check           writes nothing; names each table that would change

A board is rendered when more than three fifths of its runs are recorded, and shows
the rows that are. What is owed is said here and not in the files. Nothing is run. The
README's tables are renewed too.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tadrop.app.boards.contents import Sources
from tadrop.app.boards.recorded import Recorded, standing
from tadrop.app.boards.writing import FORMS, renew_page, tell_owed, write_all
from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import REPOSITORY
from tadrop.app.verbs.boards import report
from tadrop.app.verbs.boards.table import parser
from tadrop.errors import TadropError
from tadrop.results import findings, record
from tadrop.results.claims import page as claims
from tadrop.results.figures import validity as drawn
from tadrop.results.figures.style import save
from tadrop.results.store import former
from tadrop.results.table import Table
from tadrop.results.validity import page
from tadrop.storage.files import write_text

README = REPOSITORY / "README.md"
FINDINGS = "findings.md"
CLAIMS = "claims.md"
VALIDITY = "validity"


def changed(
    boards: Sequence[Recorded], sources: Sources, target: Path, whole: bool = True
) -> list[str]:
    """Tables under target, and the README, that the records would render otherwise.

    whole: the boards are all that stand, so that no other table belongs there. Only
    texts are held byte for byte; figures vary with the version of the font library.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        _, tables = write_all(boards, sources, fresh, draw=False)
        if whole:
            write_pages(fresh, sources, tables, boards)
        names = _texts(fresh)
        if whole:
            names |= _texts(target)
        differing: list[str] = []
        for name in sorted(names):
            if _bytes(fresh / name) != _bytes(target / name):
                differing.append(name)
        page = fresh / "page"
        write_text(page, README.read_text(encoding="utf-8"))
        renew_page(page, tables)
        if page.read_bytes() != README.read_bytes():
            differing.append("README.md")
        return differing


def write_pages(
    target: Path,
    sources: Sources,
    tables: Mapping[str, Table],
    boards: Iterable[Recorded],
    draw: bool = False,
) -> list[Path]:
    """What the tables say, and of the paper's claims, and how well they predict published
    ones; returns the paths.

    boards: those of the tables; draw: with the figure of the last
    """
    said = target / FINDINGS
    write_text(said, findings.markdown(findings.findings(tables)))
    paths = [said]
    commands = {found.board.file: found.board.command for found in boards}
    checked = claims.markdown(tables, sources.facts, commands)
    if checked:
        paths.append(target / CLAIMS)
        write_text(paths[-1], checked)
    comparison = page.of(tables, sources.facts)
    if not comparison.pairs:
        return paths
    paths.append(target / f"{VALIDITY}.md")
    write_text(paths[-1], page.markdown(comparison))
    if draw:
        figure = drawn.scatter(comparison.shown(), comparison.title)
        paths += save(figure, target / VALIDITY)
    return paths


def _texts(folder: Path) -> set[str]:
    """The names of the tables in a folder."""
    tables = {path.name for path in folder.iterdir() if path.suffix in FORMS}
    return tables - {former.FILE}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def chosen(folder: Path, files: Sequence[str] = ()) -> list[Recorded]:
    """The boards that stand; of files, where some are named.

    Raises TadropError for a file of no board that stands, and where there is no record.
    """
    if not record.files(folder):
        raise TadropError(
            f"no record in {folder}; begin with: python run.py +board=demo"
        )
    boards = standing(folder, files)
    there = [found.board.file for found in boards]
    for file in files:
        if file not in there:
            raise TadropError(f"no board stands in {folder} as {file}")
    return boards


def main(words: Sequence[str] | None = None) -> None:
    arguments = parser(__doc__)
    arguments.add_argument("files", nargs="*", help="only these; all unless given")
    arguments.add_argument(
        "--check", action="store_true", help="compare, write nothing"
    )
    arguments.set_defaults(records=Path("results/records"), out=Path("results"))
    options = arguments.parse_args(words)
    sources = Sources(options.records, options.published)
    with told_in_one_line():
        boards = chosen(options.records, options.files)
        if options.check:
            differing = changed(boards, sources, options.out, whole=not options.files)
            if differing:
                raise TadropError(
                    f"not what the records give: {', '.join(differing)}; tadrop results"
                )
            say(f"every table in {options.out} is what the records give")
            return
        paths, tables = write_all(boards, sources, options.out)
        renew_page(README, tables)
        if not options.files:
            paths += write_pages(options.out, sources, tables, boards, draw=True)
            paths.append(options.out / "report.html")
            write_text(paths[-1], report.build(boards, sources, owed=False))
    say(f"written: {len(paths)} files in {options.out}")
    tell_owed(boards)


if __name__ == "__main__":
    main()
