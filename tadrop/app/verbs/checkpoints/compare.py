"""Compares a merge with its base and its experts on data of one's own.

    tadrop compare OUT BASE EXPERT [EXPERT ...] --data FILE.txt
    tadrop compare OUT BASE EXPERT [EXPERT ...] --data FOLDER
    tadrop compare OUT BASE EXPERT [EXPERT ...] --tasks arc_easy,hellaswag

A text gives perplexity, a folder with one folder of images a class accuracy; tasks are
those of lm-evaluation-harness (extra `lm-eval`). All models are read with the tokenizer
or processor of OUT. Intervals are of a paired bootstrap over blocks of text or images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line


def main(words: Sequence[str] | None = None) -> None:
    """Measures the models that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("models", nargs="*", metavar="BASE EXPERT")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--data", type=Path, help="a text file, or images by class")
    asked.add_argument("--tasks", metavar="A,B", help="of lm-evaluation-harness")
    parser.add_argument("--limit", type=int, default=200, help="the most examples")
    options = parser.parse_args(words)
    with told_in_one_line():
        from tadrop.app.judging import comparing, harness
        from tadrop.checkpoints.words import places

        others = places(options.models)
        if options.data is not None:
            out, data = options.out, options.data
            found = comparing.compared(out, others, data, options.limit)
            for line in comparing.table(found):
                say(line)
            return
        comparing.check_whole(options.out)
        folders = {"merge": options.out}
        for name, one in others.items():
            folders[name] = one.path
        for name, folder in folders.items():
            tasks = options.tasks.split(",")
            for task, value in harness.scores(folder, tasks, options.limit).items():
                say(f"{name:<24}{task:<32}{value}")


if __name__ == "__main__":
    main()
