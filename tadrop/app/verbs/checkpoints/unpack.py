"""Writes one task's whole checkpoint from a merge.

    tadrop unpack OUT TASK -o FOLDER

From the compact form with the task's own weights, from any with what is private to it.
The base and the expert are those of OUT/tadrop.yaml; --base names another place of it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.terminal.loading import loading
from tadrop.app.terminal.stopping import nothing_goes_on

# How this command spells the settings that messages name.
SPELLINGS = {r"\bexport\.dir\b": "-o", r"\boverwrite=true\b": "--overwrite"}


def main(words: Sequence[str] | None = None) -> None:
    """Writes the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("-o", "--to", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--base", help="where the base lies, if it was moved")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(words)
    nothing_goes_on()
    with told_in_one_line(SPELLINGS):
        with loading():
            from tadrop.app.merging.unpacking import unpack

        size = unpack(
            options.out, options.task, options.to, options.base, options.overwrite
        )
        say(f"wrote {options.to} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
