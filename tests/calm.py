"""How calm code reads: characters a line, long lines, comprehensions, function lengths.

    python -m tests.calm [FOLDER ...]

One script measures every code base alike: each folder's Python files, tests left out.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

OURS = ("tadrop", "baselines", "experiments", "run.py")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WIDE = 100  # columns
HEADINGS = (
    "files",
    "lines",
    "chars/line",
    ">100 cols",
    "compr/1000",
    "nested",
    "functions",
)


@dataclass(frozen=True)
class Calm:
    """Measures of some files, over lines that are not blank.

    characters:     of a line without its indentation, on average
    wide:           share of lines of more than WIDE columns, indentation and all
    comprehensions: for 1,000 lines
    nested:         those inside another one or with several loops, for 1,000 lines
    functions:      their lines: the median, the 95th percentile and the most
    """

    files: int
    lines: int
    characters: float
    wide: float
    comprehensions: float
    nested: float
    functions: tuple[int, int, int]

    def cells(self) -> list[str]:
        """What a table shows, in the order of HEADINGS."""
        return [
            str(self.files),
            str(self.lines),
            f"{self.characters:.1f}",
            f"{self.wide:.1%}",
            f"{self.comprehensions:.1f}",
            f"{self.nested:.1f}",
            "/".join(map(str, self.functions)),
        ]


def sources(folder: Path) -> Iterator[Path]:
    """A folder's Python files without tests and hidden folders, or a file itself."""
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*.py")):
        names = path.relative_to(folder).parts
        hidden = any(name.startswith(".") for name in names)
        if not hidden and "tests" not in names and not path.name.startswith("test_"):
            yield path


def comprehensions_of(tree: ast.AST) -> Iterator[ast.expr]:
    """Every comprehension in a syntax tree, those inside others too."""
    for node in ast.walk(tree):
        if isinstance(node, COMPREHENSIONS):
            yield node


def is_nested(comprehension: ast.expr) -> bool:
    """Whether another one stands inside it, or it runs over more than one loop."""
    if len(list(comprehensions_of(comprehension))) > 1:
        return True
    assert isinstance(comprehension, COMPREHENSIONS)
    return len(comprehension.generators) > 1


def function_lengths(tree: ast.AST) -> Iterator[int]:
    """The lines of every function in a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def measure(paths: Iterable[Path]) -> Calm:
    """The measures of these files together."""
    files = characters = wide = nested = 0
    lines: list[str] = []
    lengths: list[int] = []
    comprehensions: list[ast.expr] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        files += 1
        lines += filter(str.strip, text.splitlines())
        lengths += function_lengths(tree)
        comprehensions += comprehensions_of(tree)
    for line in lines:
        characters += len(line.strip())
        wide += len(line) > WIDE
    for comprehension in comprehensions:
        nested += is_nested(comprehension)
    return Calm(
        files=files,
        lines=len(lines),
        characters=characters / len(lines),
        wide=wide / len(lines),
        comprehensions=len(comprehensions) * 1000 / len(lines),
        nested=nested * 1000 / len(lines),
        functions=_spread(lengths),
    )


def _spread(lengths: Sequence[int]) -> tuple[int, int, int]:
    """The median, the 95th percentile and the most; zeros where there are no lengths."""
    if not lengths:
        return 0, 0, 0
    ordered = sorted(lengths)
    return int(median(ordered)), ordered[int(0.95 * len(ordered))], ordered[-1]


def main(folders: Sequence[str]) -> None:
    """Prints one line a folder."""
    print(f"{'':<40}" + "".join(f"{word:>13}" for word in HEADINGS))
    for folder in folders or OURS:
        paths = list(sources(Path(folder)))
        if paths:
            cells = measure(paths).cells()
            print(f"{folder:<40}" + "".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    main(sys.argv[1:])
