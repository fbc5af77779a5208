"""The same as `tadrop run`, for those who cloned: merge fine-tuned models and measure
the result.

    python run.py                                   the default run
    python run.py merge=ties tadrop=off             one row of the table
    python run.py -m merge=ties,emr tadrop=off,on   a sweep
    python run.py +board=demo                       a board's runs, then its table
    python run.py +board=demo --dry-run             what that would take
    python run.py --help                            every choice

A merge of checkpoints on disk, written and not evaluated:

    python run.py model=local model.base=DIR 'model.experts=[DIR1,DIR2]' merge=ties \\
      evaluate=false export.dir=OUT
"""

import sys

from tadrop.app.terminal.entry import enter


def main() -> None:
    """Does what the command line says; Ctrl-C works from the first moment."""
    enter()
    from tadrop.app.main import run_words

    run_words(sys.argv[1:])


if __name__ == "__main__":
    main()
