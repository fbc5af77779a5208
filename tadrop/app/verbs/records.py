"""Lists, filters, compares, prunes and exports records.

    tadrop records list [FILTER ...]            one line a record
    tadrop records show KEY                     the record itself
    tadrop records diff KEY KEY                 what two runs did differently, and what came of it
    tadrop records prune FILTER ... [--yes]     deletes records, after asking
    tadrop records export FILE [FILTER ...]     FILE ends in .csv or .parquet; one line a task
    tadrop records push tracker=NAME [FILTER ...]   tells a tracker, as a run does

A FILTER is path=value, path!=value, path<value or path>value over a record's nodes,
such as config.tadrop=null, 'average>80' or key=1f2e. Paths may be shortened to their
end (merge.name=ties), values may use * and ?. A KEY may be shortened as long as it is
one record's.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.app.console import out, print_wide, say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.terminal.plain import harmless
from tadrop.errors import TadropError
from tadrop.results import record
from tadrop.results.record import Record
from tadrop.results.store import index
from tadrop.results.store.facts import average, facts, leaves, parse, word
from tadrop.results.store.lines import Line, line_of
from tadrop.storage.files import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER = RUNS / "records"
FEW = 1000  # records that are read one by one rather than looked up
SCORE = ("task", "split", "metric", "value", "count")  # what is exported of a score


def select(folder: Path, filters: Sequence[str]) -> list[Record]:
    """The records that pass, by key, as their files have them."""
    parsed = list(map(parse, filters))
    chosen: list[Record] = []
    for key in index.passing(folder, parsed):
        one = record.read(folder / f"{key}.json")
        values = facts(one) if parsed else {}
        if all(each.matches(values) for each in parsed):
            chosen.append(one)
    return chosen


def lines(folder: Path, filters: Sequence[str]) -> list[Line]:
    """The lines of the records that pass, by key."""
    keys = index.passing(folder, list(map(parse, filters)))
    if len(keys) < FEW:
        return [line_of(record.read(folder / f"{key}.json")) for key in keys]
    wanted = set(keys)
    return [line for line in index.lines(folder) if line.key in wanted]


def one_of(folder: Path, key: str) -> Record:
    """The record whose key begins so."""
    files = [file for file in record.files(folder) if file.name.startswith(key)]
    if len(files) != 1:
        raise TadropError(
            f"{len(files)} records in {folder} have a key that begins with {key!r}; "
            "one must"
        )
    return record.read(files[0])


HEADINGS = (
    *("key", "model", "run", "seed"),
    *("tasks", "scale", "average", "seconds", "code"),
)
LEFT = HEADINGS[:4]  # what stands to the left in its column
FITTED = 500  # lines that are fitted into a terminal; more are printed as they are


def show_lines(shown: Sequence[Line]) -> None:
    """Prints a line a record, below headings."""
    rows = list(map(cells, shown))
    if out.is_terminal and len(rows) <= FITTED:
        table = RichTable(box=None)
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading in LEFT else "right")
        for row in rows:
            table.add_row(*map(Text, row))
        print_wide(table)
        return
    columns = zip(HEADINGS, *rows, strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    say("\n".join(_aligned(row, widths) for row in (HEADINGS, *rows)))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """The cells of a line, each in its column."""
    texts: list[str] = []
    for heading, cell, width in zip(HEADINGS, row, widths, strict=True):
        space = " " * (width - cell_len(cell))
        texts.append(cell + space if heading in LEFT else space + cell)
    return " " + "  ".join(texts)


def cells(line: Line) -> tuple[str, ...]:
    """A record as a list shows it."""
    return (
        line.key,
        line.model,
        line.label,
        "" if line.seed is None else str(line.seed),
        str(line.tasks),
        f"{line.scale:g}",
        f"{line.average:.2f}",
        f"{line.seconds:.1f}",
        line.commit,
    )


def differences(a: Record, b: Record) -> list[tuple[str, str, str]]:
    """(path, value in a, value in b) wherever two records differ.

    The key and the label are left out, as they follow from the rest.
    """
    of_a, of_b = facts(a), facts(b)
    lines: list[tuple[str, str, str]] = []
    for name in of_a | of_b:
        line = (name, _shown(of_a, name), _shown(of_b, name))
        if name not in ("key", "label") and line[1] != line[2]:
            lines.append(line)
    return lines


def _shown(values: Mapping[str, Any], name: str) -> str:
    """A value as a diff shows it; a dash where there is none."""
    if name not in values:
        return "-"
    value = values[name]
    return f"{value:.6g}" if isinstance(value, float) else word(value)


def frame(records: Sequence[Record]) -> "DataFrame":
    """One row per record and task.

    It holds the key facts of the run, the score, and the leaves of the configuration.
    """
    import pandas

    rows: list[dict[str, Any]] = []
    for one in records:
        run = {
            "key": one["key"],
            "label": one["label"],
            "scale": one["selection"]["scale"],
            "density": one["density"],
            "average": average(one),
            "stored_bytes": one["stored_bytes"],
            "seconds": sum(one["seconds"].values()),
        }
        settings: dict[str, Any] = {}
        for path, leaf in leaves(one["config"]).items():
            plain = isinstance(leaf, str | int | float | bool | None)
            settings[f"config.{path}"] = leaf if plain else json.dumps(leaf)
        for score in one["scores"]:
            grade = {word: score[word] for word in SCORE}
            rows.append(run | grade | settings)
    return pandas.DataFrame(rows)


def export(records: Sequence[Record], path: Path) -> None:
    """Writes the frame, as CSV or Parquet by the file's ending."""
    table = frame(records)
    if path.suffix == ".csv":
        write_atomically(path, partial(table.to_csv, index=False))
    elif path.suffix == ".parquet":
        types: dict[str, Any] = {}
        for column in table.columns:
            if len(set(map(type, table[column]))) > 1:
                types[column] = "string"
        typed = table.astype(types)
        write_atomically(path, partial(typed.to_parquet, index=False))
    else:
        raise TadropError(f"{path}: write to a file that ends in .csv or .parquet")


def prune(folder: Path, records: Sequence[Record]) -> None:
    """Deletes records with their side files; the JSON last, as it is written last."""
    for one in records:
        for suffix in record.SUFFIXES:
            (folder / f"{one['key']}{suffix}").unlink(missing_ok=True)


def _ask(records: Sequence[Record], yes: bool) -> bool:
    """Whether to delete these records. yes: without asking."""
    count = len(records)
    if not records:
        out.print("no record passes; nothing to delete")
        return False
    show_lines(list(map(line_of, records)))
    if yes:
        return True
    if not sys.stdin.isatty():
        raise TadropError(f"{count} records would be deleted; say --yes to delete them")
    return out.input(f"delete these {count} records? type yes: ").strip() == "yes"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=FOLDER)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, count in (("list", "*"), ("show", 1), ("diff", 2), ("prune", "+")):
        sub = verbs.add_parser(verb)
        kind = "FILTER" if verb in ("list", "prune") else "KEY"
        sub.add_argument("words", nargs=count, metavar=kind)
        if verb == "prune":
            sub.add_argument("--yes", action="store_true", help="do not ask")
    sub = verbs.add_parser("export")
    sub.add_argument("file", type=Path)
    sub.add_argument("words", nargs="*", metavar="FILTER")
    sub = verbs.add_parser("push")
    sub.add_argument("words", nargs="+", metavar="tracker=NAME|FILTER")
    return parser.parse_args()


def _push(folder: Path, words: Sequence[str]) -> None:
    """Tells a tracker of records. words: filters, and settings of the tracker."""
    from tadrop.app.schema.composing import composed
    from tadrop.app.trackers.telling import parted, push

    settings, filters = parted(words)
    records = select(folder, filters)
    count = push(composed(settings).tracker, records, folder)
    if count < len(records):
        sys.exit(1)
    out.print(f"{count} records of {folder} were pushed")


def _do(options: argparse.Namespace) -> None:
    folder, words = options.records, options.words
    if options.verb == "show":
        out.print_json(json.dumps(one_of(folder, words[0])))
        return
    if options.verb == "diff":
        table = RichTable("", *words, box=None)
        for line in differences(one_of(folder, words[0]), one_of(folder, words[1])):
            table.add_row(*line)
        print_wide(table)
        return
    if options.verb == "push":
        _push(folder, words)
        return
    if options.verb == "list":
        shown = lines(folder, words)
        show_lines(shown)
        say(harmless(f"{len(shown)} records in {folder}"))
        return
    records = select(folder, words)
    if options.verb == "export":
        export(records, options.file)
        say(harmless(f"{len(records)} records written to {options.file}"))
    elif _ask(records, options.yes):
        prune(folder, records)
        out.print(f"{len(records)} records deleted")


def main() -> None:
    """Does what the command line says."""
    with told_in_one_line():
        _do(_arguments())


if __name__ == "__main__":
    main()
