"""How calm the code reads: characters a line, long lines, comprehensions, function
lengths.

    python -m tests.calm [FOLDER ...]

One script measures every code base alike: each folder's Python files, tests left out.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
WIDE = 100  # columns


@dataclass(frozen=True)
class Calm:
    """Measures of some files, over lines that are not blank, without their indentation.

    Shares are fractions; comprehensions are counted per 1,000 lines.
    """

    files: int
    lines: int
    characters: float
    wide: float
    comprehensions: float
    nested: float
    functions: tuple[int, int, int]


def sources(folder: Path) -> Iterator[Path]:
    """The Python files of a folder, or a file itself, without tests and hidden folders."""
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*.py")):
        names = path.relative_to(folder).parts
        hidden = any(name.startswith(".") for name in names)
        if not hidden and "tests" not in names and not path.name.startswith("test_"):
            yield path


def nested(tree: ast.AST) -> int:
    """Comprehensions that stand inside another one, or run over more than one loop."""
    found = 0
    for node in ast.walk(tree):
        if isinstance(node, COMPREHENSIONS):
            inner = [
                each for each in ast.walk(node) if isinstance(each, COMPREHENSIONS)
            ]
            found += len(inner) > 1 or len(node.generators) > 1
    return found


def measure(paths: list[Path]) -> Calm:
    """The measures of these files together."""
    lines: list[str] = []
    lengths: list[int] = []
    comprehensions, inside = 0, 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines += text.splitlines()
        tree = ast.parse(text)
        inside += nested(tree)
        for node in ast.walk(tree):
            comprehensions += isinstance(node, COMPREHENSIONS)
            if isinstance(node, ast.FunctionDef):
                lengths.append(node.end_lineno - node.lineno + 1)
    written = [line for line in lines if line.strip()]
    per_thousand = 1000 / len(written)
    lengths.sort()
    return Calm(
        files=len(paths),
        lines=len(written),
        characters=sum(len(line.strip()) for line in written) / len(written),
        wide=sum(len(line) > WIDE for line in written) / len(written),
        comprehensions=comprehensions * per_thousand,
        nested=inside * per_thousand,
        functions=(
            int(median(lengths)),
            lengths[int(0.95 * len(lengths))],
            lengths[-1],
        ),
    )


def main(folders: list[str]) -> None:
    """Prints one line a folder."""
    heading = (
        "files",
        "lines",
        "chars/line",
        ">100 cols",
        "compr/1000",
        "nested",
        "functions",
    )
    print(f"{'':<40}" + "".join(f"{word:>13}" for word in heading))
    for folder in folders or ["tadrop", "baselines", "experiments", "run.py"]:
        paths = list(sources(Path(folder)))
        if not paths:
            continue
        found = measure(paths)
        shown = "/".join(map(str, found.functions))
        print(
            f"{folder:<40}{found.files:>13}{found.lines:>13}{found.characters:>13.1f}"
            f"{found.wide:>13.1%}{found.comprehensions:>13.1f}{found.nested:>13.1f}{shown:>13}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
