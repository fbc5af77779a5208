"""Searches the best merge of checkpoints on data of one's own, with Optuna.

    tadrop tune-merge BASE EXPERT [EXPERT ...] --data FILE.txt -o OUT
    tadrop tune-merge BASE EXPERT ... --data FOLDER --methods ties,dare_ties --trials 60 -o OUT

Every trial merges and measures: perplexity of a text, or accuracy on a folder of images
by class. The study stands in --study and goes on with the same command; the best merge
is written to OUT with its recipe. Choose on validation data, and report on other data:
tadrop compare OUT BASE EXPERT ... --data OTHER. Needs the extra `optuna`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tadrop.app.console import err, say
from tadrop.app.judging.asked import check_data, check_positive, listed
from tadrop.app.merging import spellings
from tadrop.app.merging.inputs import configured
from tadrop.app.merging.request import Request
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.terminal.loading import loading

METHODS = "average,task_arithmetic,ties,dare_ties,magmax"
# How this command spells the settings that messages name.
SPELLINGS = {
    **spellings.OPTIONS,
    r"\bmerge=(\w+): conf/merge has no such file": r"--methods \1: there is no such method",
    r"\bmerge=(?=\w)": "--methods ",
}


def main(words: Sequence[str] | None = None) -> None:
    """Runs the trials that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("base", metavar="BASE")
    parser.add_argument("experts", nargs="+", metavar="EXPERT")
    parser.add_argument("-o", "--out", required=True, metavar="OUT")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--methods", metavar="A,B", help=f"see tadrop merge --list; usually {METHODS}"
    )
    parser.add_argument("--trials", type=int, default=30, help="in all")
    parser.add_argument("--limit", type=int, default=100, help="the most examples")
    parser.add_argument("--private", nargs="+", default=[], metavar="PATTERN")
    parser.add_argument("--study", type=Path, help="a folder; usually OUT.study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(words)
    with told_in_one_line(SPELLINGS):
        methods = METHODS if options.methods is None else options.methods
        chosen = listed("--methods", methods)
        model = {"private": options.private}
        request = Request(
            options.base,
            options.experts,
            options.out,
            model=model,
            overwrite=options.overwrite,
        )
        check_data(options.data, options.limit)
        check_positive("--trials", options.trials)
        for method in chosen:
            configured(replace(request, method=method))
        best = _searched(request, chosen, options)
        with loading():
            from tadrop.app.merging.running import run
            from tadrop.app.showing import show_written

        show_written(run(best, silent=True))


def _searched(
    request: Request, methods: Sequence[str], options: argparse.Namespace
) -> Request:
    """The best merge that the trials find; prints a line of each and a leaderboard."""
    with loading():
        from tadrop.app.judging import tuning

    folder = options.study or Path(f"{options.out}.study")
    search = tuning.Search(
        request, methods, options.data, options.limit, folder, options.seed
    )
    best, lines = tuning.tuned(search, options.trials, lambda text: say(text, err))
    for line in lines:
        say(line)
    return best


if __name__ == "__main__":
    main()
