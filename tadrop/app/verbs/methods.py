"""Lists every row: its name, what it is and its paper, as its YAML says it.

tadrop methods
"""

from tadrop.app.boards.catalogue import listing
from tadrop.app.console import say


def main() -> None:
    say(listing())


if __name__ == "__main__":
    main()
