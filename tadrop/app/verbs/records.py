"""Lists, filters, compares, prunes and exports records.

    python -m tadrop.app.verbs.records list [FILTER ...]            one line a record
    python -m tadrop.app.verbs.records show KEY                     the record itself
    python -m tadrop.app.verbs.records diff KEY KEY                 what two runs did differently, and what came of it
    python -m tadrop.app.verbs.records prune FILTER ... [--yes]     deletes records, after asking
    python -m tadrop.app.verbs.records export FILE [FILTER ...]     FILE ends in .csv or .parquet; one line a task

A FILTER is path=value, path!=value, path<value or path>value over a record's nodes,
such as config.tadrop=null, 'average>80' or key=1f2e. Paths may be shortened to their
end (merge.name=ties), values may use * and ?. A KEY may be shortened as long as it is
one record's.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.showing import print_wide
from tadrop.results import record
from tadrop.results.record import Record
from tadrop.storage.files import write_atomically
from tadrop.types import TadropError

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER = Path("results/records")


def average(one: Record) -> float:
    """The mean of the task scores, in percent."""
    return 100 * mean(score["value"] for score in one["scores"])


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """A record's leaves by dotted path; lists are leaves."""
    if isinstance(node, Mapping) and node:
        return {
            k: v
            for name, value in node.items()
            for k, v in flat(value, f"{prefix}{name}.").items()
        }
    return {prefix[:-1]: node}


def leaves(one: Record) -> dict[str, Any]:
    """What filters and diffs look at: every leaf but the scores, which become one
    accuracy per task and an average.
    """
    scores = {f"score.{score['task']}": 100 * score["value"] for score in one["scores"]}
    rest = {name: node for name, node in one.items() if name != "scores"}
    return flat(rest) | scores | {"average": average(one)}


def matches(one: Record, filters: Sequence[str]) -> bool:
    """Whether a record passes every filter."""
    return all(_passes(leaves(one), filter_) for filter_ in filters)


def _passes(found: Mapping[str, Any], filter_: str) -> bool:
    split = re.fullmatch(r"([\w.\-/ ]+?)(!=|=|<|>)(.*)", filter_)
    if split is None:
        raise TadropError(
            f"{filter_!r} is not a filter; write path=value, path!=value, path<value or path>value"
        )
    path, sign, wanted = split.groups()
    values = [
        v for name, v in found.items() if name == path or name.endswith(f".{path}")
    ]
    if sign in "<>":
        numbers = [
            v for v in values if isinstance(v, int | float) and not isinstance(v, bool)
        ]
        return any(
            v < _number(wanted, filter_)
            if sign == "<"
            else v > _number(wanted, filter_)
            for v in numbers
        )
    same = any(fnmatchcase(_word(v), wanted) for v in values)
    if path == "key":
        same = str(found["key"]).startswith(wanted)
    there = bool(values) or any(
        name.startswith(f"{path}.") or f".{path}." in name for name in found
    )
    return same if sign == "=" else there and not same


def _number(text: str, filter_: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TadropError(f"{filter_!r}: {text!r} is not a number") from None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def select(folder: Path, filters: Sequence[str]) -> list[Record]:
    """The records that pass, by key."""
    return [one for one in record.read_all(folder) if matches(one, filters)]


def one_of(folder: Path, key: str) -> Record:
    """The record whose key begins so."""
    found = sorted(folder.glob(f"{key}*.json"))
    if len(found) != 1:
        raise TadropError(
            f"{len(found)} records in {folder} have a key that begins with {key!r}; one must"
        )
    return record.read(found[0])


def listing(records: Sequence[Record]) -> RichTable:
    table = RichTable(box=None)
    for heading in ("key", "model", "run", "seed"):
        table.add_column(heading)
    for heading in ("tasks", "scale", "average", "seconds", "code"):
        table.add_column(heading, justify="right")
    for one in records:
        config, seed = one["config"], one["config"]["seed"]
        table.add_row(
            one["key"],
            config["model"]["name"],
            one["label"],
            "" if seed is None else str(seed),
            str(len(one["scores"])),
            f"{one['selection']['scale']:g}",
            f"{average(one):.2f}",
            f"{sum(one['seconds'].values()):.1f}",
            (one["code"]["commit"] or "")[:8] + ("+" if one["code"]["dirty"] else ""),
        )
    return table


def differences(a: Record, b: Record) -> list[tuple[str, str, str]]:
    """(path, value in a, value in b) wherever two records differ; what follows from
    another key is left out.
    """
    ours, theirs = leaves(a), leaves(b)
    skipped = ("key", "label")
    names = [name for name in dict.fromkeys((*ours, *theirs)) if name not in skipped]
    shown = [(name, _shown(ours, name), _shown(theirs, name)) for name in names]
    return [line for line in shown if line[1] != line[2]]


def _shown(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return "-"
    value = found[name]
    return f"{value:.6g}" if isinstance(value, float) else _word(value)


def frame(records: Sequence[Record]) -> "DataFrame":
    """One row per record and task: the key facts of the run, the configuration's
    leaves, and the score.
    """
    import pandas

    rows = []
    for one in records:
        config = {f"config.{k}": v for k, v in flat(one["config"]).items()}
        words = {
            k: v if isinstance(v, str | int | float | bool | None) else json.dumps(v)
            for k, v in config.items()
        }
        facts = {
            "key": one["key"],
            "label": one["label"],
            "scale": one["selection"]["scale"],
            "density": one["density"],
        }
        facts |= {
            "average": average(one),
            "stored_bytes": one["stored_bytes"],
            "seconds": sum(one["seconds"].values()),
        }
        rows += [
            facts
            | {k: score[k] for k in ("task", "split", "metric", "value", "count")}
            | words
            for score in one["scores"]
        ]
    return pandas.DataFrame(rows)


def export(records: Sequence[Record], path: Path) -> None:
    """Writes the frame, as CSV or Parquet by the file's ending."""
    made = frame(records)
    if path.suffix == ".csv":
        write_atomically(path, lambda target: made.to_csv(target, index=False))
    elif path.suffix == ".parquet":
        mixed = [c for c in made.columns if made[c].map(type).nunique() > 1]
        typed = made.astype(dict.fromkeys(mixed, "string"))
        write_atomically(path, lambda target: typed.to_parquet(target, index=False))
    else:
        raise TadropError(f"{path}: write to a file that ends in .csv or .parquet")


def prune(folder: Path, records: Sequence[Record]) -> None:
    """Deletes records with their side files; the JSON last, as it is written last."""
    for one in records:
        for suffix in record.SUFFIXES:
            (folder / f"{one['key']}{suffix}").unlink(missing_ok=True)


def _ask(records: Sequence[Record], yes: bool) -> bool:
    if not records:
        out.print("no record passes; nothing to delete")
        return False
    print_wide(listing(records))
    if yes:
        return True
    if not sys.stdin.isatty():
        raise TadropError(
            f"{len(records)} records would be deleted; say --yes to delete them"
        )
    return (
        out.input(f"delete these {len(records)} records? type yes: ").strip() == "yes"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=FOLDER)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("list", "*"), ("show", 1), ("diff", 2), ("prune", "+")):
        sub = verbs.add_parser(verb)
        sub.add_argument(
            "words",
            nargs=words,
            metavar="FILTER" if verb in ("list", "prune") else "KEY",
        )
        if verb == "prune":
            sub.add_argument("--yes", action="store_true", help="do not ask")
    sub = verbs.add_parser("export")
    sub.add_argument("file", type=Path)
    sub.add_argument("words", nargs="*", metavar="FILTER")
    return parser.parse_args()


def _do(options: argparse.Namespace) -> None:
    folder, words = options.records, options.words
    if options.verb == "list":
        found = select(folder, words)
        print_wide(listing(found))
        out.print(f"{len(found)} records in {folder}")
    elif options.verb == "show":
        out.print_json(json.dumps(one_of(folder, words[0])))
    elif options.verb == "diff":
        table = RichTable("", *words, box=None)
        for line in differences(*(one_of(folder, key) for key in words)):
            table.add_row(*line)
        print_wide(table)
    elif options.verb == "export":
        found = select(folder, words)
        export(found, options.file)
        out.print(f"{len(found)} records written to {options.file}")
    elif _ask(found := select(folder, words), options.yes):
        prune(folder, found)
        out.print(f"{len(found)} records deleted")


def main() -> None:
    with told_in_one_line():
        _do(_arguments())


if __name__ == "__main__":
    main()
