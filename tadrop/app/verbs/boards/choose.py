"""Shows the whole grid that TADrop's defaults were chosen from, and the choice.

    tadrop choose [sweep_quantiles] [--records DIR] [--out DIR]

The rule: the quantile pair and norm with the highest validation accuracy, averaged over
the sweep's methods. Test images are not looked at. Writes the grid as Markdown, CSV and
a heat map; conf/tadrop/on.yaml holds the choice.
"""

from tadrop.app.boards.board import Board
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.verbs.boards.table import parser, show


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("board", nargs="?", default="sweep_quantiles")
    arguments.set_defaults(partial=False, page=None)
    options = arguments.parse_args()
    with told_in_one_line():
        show(Board(options.board), options)


if __name__ == "__main__":
    main()
