"""Lists every row: its name, what it is and its paper, as its YAML says it.

tadrop methods
"""

from tadrop.app.boards.catalogue import listing
from tadrop.app.console import out


def main() -> None:
    out.print(listing(), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
