"""The command `tadrop VERB`, and python -m tadrop VERB: see tadrop/app/command.py."""

from tadrop.app.terminal.entry import enter


def main() -> None:
    """Does what the command line says; Ctrl-C works from the first moment."""
    enter()
    from tadrop.app.command import main as do

    do()


if __name__ == "__main__":
    main()
