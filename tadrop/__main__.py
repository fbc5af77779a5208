"""The command `tadrop VERB`, and python -m tadrop VERB: see tadrop/app/command.py."""

from tadrop.app.terminal.stopping import stop_when_told


def main() -> None:
    """Does what the command line says; Ctrl-C works from the first moment."""
    stop_when_told()
    from tadrop.app.command import main as do

    do()


if __name__ == "__main__":
    main()
