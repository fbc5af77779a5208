"""Compares a merge with its base and its experts on data of one's own.

    tadrop compare OUT BASE EXPERT [EXPERT ...] --data FILE.txt
    tadrop compare OUT BASE EXPERT [EXPERT ...] --data FOLDER
    tadrop compare OUT BASE EXPERT [EXPERT ...] --tasks arc_easy,hellaswag

A text gives perplexity, a folder with one folder of images a class accuracy; tasks are
those of lm-evaluation-harness (extra `lm-eval`). All models are read with the tokenizer
or processor of OUT. Intervals are of a paired bootstrap over blocks of text or images.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from tadrop.app.console import out, say
from tadrop.app.judging.asked import check_data, check_folder, check_positive, listed
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.terminal.loading import loading
from tadrop.app.terminal.stopping import nothing_goes_on
from tadrop.checkpoints.words import Place, places

WIDE = 200  # characters of a line in a pipe


def main(words: Sequence[str] | None = None) -> None:
    """Measures the models that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("models", nargs="*", metavar="BASE EXPERT")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--data", type=Path, help="a text file, or images by class")
    asked.add_argument("--tasks", metavar="A,B", help="of lm-evaluation-harness")
    parser.add_argument("--limit", type=int, default=200, help="the most examples")
    options = parser.parse_args(words)
    nothing_goes_on()
    with told_in_one_line():
        check_folder(options.out)
        others = places(options.models)
        if options.data is not None:
            check_data(options.data, options.limit)
            _compare(options, others)
        else:
            check_positive("--limit", options.limit)
            _score(options, others)


def _compare(options: argparse.Namespace, others: Mapping[str, Place]) -> None:
    """Prints the table of all models on data of one's own."""
    with loading():
        from tadrop.app.judging import comparing

    found = comparing.compared(options.out, others, options.data, options.limit)
    for line in comparing.table(found, out.width if out.is_terminal else WIDE):
        say(line)


def _score(options: argparse.Namespace, others: Mapping[str, Place]) -> None:
    """Prints what all models reach on tasks of lm-evaluation-harness."""
    tasks = listed("--tasks", options.tasks)
    with loading():
        from tadrop.app.judging import comparing, harness

    comparing.check_whole(options.out)
    folders = {comparing.MERGE: options.out}
    for name, one in others.items():
        folders[name] = one.path
    for name, folder in folders.items():
        for task, value in harness.scores(folder, tasks, options.limit).items():
            say(f"{name:<24}{task:<32}{value}")


if __name__ == "__main__":
    main()
