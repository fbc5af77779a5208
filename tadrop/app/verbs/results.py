"""Renders everything in results/ anew from the records: tables, figures, boards, the
report and the README's tables.

    tadrop results                   writes what the records can fill
    tadrop results --check           writes nothing; names each table that the records would change

A recipe is rendered when all of its runs are recorded, a leaderboard when most of its
rows are. Nothing is run.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tadrop.app import boards as recipes
from tadrop.app.console import err, out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import REPOSITORY
from tadrop.app.showing import print_table
from tadrop.app.verbs import choose, leaderboard, report
from tadrop.app.verbs import table as tables
from tadrop.results import identity, published, record
from tadrop.results.record import Record
from tadrop.results.table import Table
from tadrop.storage.files import write_text
from tadrop.types import TadropError

TEXTS = (
    ".md",
    ".csv",
    ".tex",
)  # what --check holds byte for byte; figures vary with the version of the font library
README = REPOSITORY / "README.md"


def complete(folder: Path) -> Iterator[tuple[str, list[Record]]]:
    """Every recipe all of whose runs are recorded."""
    for name in recipes.names():
        try:
            found = tables.collect(name, folder)
        except TadropError:
            continue
        yield name, found


def write(
    folder: Path,
    target: Path,
    facts: Path,
    boards: Sequence[leaderboard.Board],
    draw: bool = True,
) -> tuple[list[Path], dict[str, Table]]:
    """All tables, and figures if draw; returns their paths, and the recipes' tables by
    name.
    """
    paths: list[Path] = []
    rendered: dict[str, Table] = {}
    for name, found in complete(folder):
        err.print(name)
        written, made = one(name, found, folder, target, facts, draw)
        paths, rendered = paths + written, rendered | made
    err.print("leaderboards")
    ranked = {board.tasks: leaderboard.ranked(board) for board in boards}
    return paths + leaderboard.write(target, ranked, draw), rendered


def one(
    name: str,
    found: Sequence[Record],
    folder: Path,
    target: Path,
    facts: Path,
    draw: bool = True,
) -> tuple[list[Path], dict[str, Table]]:
    """A recipe's files from its records; returns their paths and its tables. One that
    chooses settings has a grid.
    """
    if any(each["protocol"]["split"] == "validation" for each in found):
        return choose.write(name, choose.grid(found), target, draw), {}
    return tables.render(name, found, folder, facts, target, draw)


def after_sweep(recipe: str, words: Sequence[str], folder: Path, target: Path) -> None:
    """What the runs of a recipe were for: prints its tables and writes them under
    target.

    words: further overrides of the command. A recipe of which they change the runs, or
    take them from elsewhere, is another one and gets no file of its name, unless they
    say where to.
    """
    keys = {word.lstrip("+~").partition("=")[0] for word in words}
    changed = {
        key for key in keys if key.split(".")[0].split("/")[0] not in identity.CIRCUMSTANCES
    }
    changed |= keys & {"paths.records"}
    keep = not changed or "paths.results" in keys
    try:
        found = tables.collect(recipe, folder, words, partial=True)
        with tempfile.TemporaryDirectory() as scratch:
            where = target if keep else Path(scratch)
            paths, rendered = one(
                recipe, found, folder, where, published.FOLDER, draw=keep
            )
            if not rendered:
                out.print(
                    paths[0].read_text(encoding="utf-8"), soft_wrap=True, markup=False
                )
    except TadropError as error:
        err.print(f"no table of {recipe}: {error}", soft_wrap=True, markup=False)
        return
    for table in rendered.values():
        print_table(table)
    if keep:
        out.print(
            "written: " + ", ".join(map(str, paths)), soft_wrap=True, markup=False
        )
    else:
        other = f"with {', '.join(sorted(changed))} it is another table than {recipe}'s"
        err.print(
            f"not written: {other}; paths.results=DIR writes it there",
            soft_wrap=True,
            markup=False,
        )


def renew_page(page: Path, rendered: dict[str, Table]) -> None:
    """Puts every table that a page has a place for into it."""
    for name, made in rendered.items():
        if f"<!-- table: {name} -->" in page.read_text(encoding="utf-8"):
            tables.put_in_page(page, name, made)


def changed(folder: Path, target: Path, facts: Path) -> list[str]:
    """Tables under target, and the README, that the records would render otherwise or
    not at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        _, rendered = write(
            folder, fresh, facts, leaderboard.standing(folder), draw=False
        )
        page = fresh / "page"
        write_text(page, README.read_text(encoding="utf-8"))
        renew_page(page, rendered)
        names = {
            path.name
            for where in (fresh, target)
            for path in where.iterdir()
            if path.suffix in TEXTS
        }
        found = [
            name
            for name in sorted(names)
            if _bytes(fresh / name) != _bytes(target / name)
        ]
        return found + ["README.md"] * (page.read_bytes() != README.read_bytes())


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--published", type=Path, default=published.FOLDER)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(words)
    with told_in_one_line():
        if not record.read_all(options.records):
            raise TadropError(
                f"no record in {options.records}; begin with: python run.py +experiment=demo"
            )
        if options.check:
            found = changed(options.records, options.out, options.published)
            if found:
                raise TadropError(
                    f"not what the records give: {', '.join(found)}; tadrop results"
                )
            out.print(f"every table in {options.out} is what the records give")
            return
        boards = leaderboard.standing(options.records)
        paths, rendered = write(options.records, options.out, options.published, boards)
        renew_page(README, rendered)
        page = report.build(recipes.names(), options.records, options.published, boards)
        write_text(options.out / "report.html", page)
    out.print(f"written: {len(paths) + 1} files in {options.out}")


if __name__ == "__main__":
    main()
