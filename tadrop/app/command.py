"""The command `tadrop VERB`, also `python -m tadrop VERB`:
every verb is a file of verbs/.
"""

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

VERBS = Path(__file__).parent / "verbs"

HEAD = """tadrop VERB [words ...]; tadrop VERB --help says more.

  run            one run, a sweep or a board; the same words as run.py"""


def verbs() -> dict[str, str]:
    """The name of every verb and the module that does it, by name."""
    found: dict[str, str] = {}
    for path in sorted(VERBS.rglob("[!_]*.py")):
        parts = path.relative_to(VERBS).with_suffix("").parts
        found[parts[-1]] = ".".join(("tadrop.app.verbs", *parts))
    return found


def about(module: str) -> str:
    """The first sentence of a verb's docstring, read without importing the verb."""
    path = VERBS.joinpath(*module.split(".")[3:]).with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = " ".join(text.split("\n\n")[0].split())
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def listing() -> str:
    """What there is to choose from, a line a verb."""
    lines = [HEAD]
    for verb, module in verbs().items():
        lines.append(f"  {verb.replace('_', '-'):<14} {about(module)}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Does the verb that stands first."""
    given = list(sys.argv[1:] if words is None else words)
    if not given or given[0] in ("-h", "--help"):
        print(listing())
        return
    verb, *rest = given
    verb = verb.replace("-", "_")
    known = verbs()
    sys.argv = [f"tadrop {verb.replace('_', '-')}", *rest]
    if verb == "run":
        from tadrop.app.main import run_words

        run_words(rest)
    elif verb in known:
        importlib.import_module(known[verb]).main()
    else:
        near = difflib.get_close_matches(verb, ["run", *known], 1)
        meant = f"did you mean {near[0]}?" if near else "tadrop --help lists them"
        sys.exit(f"error: no verb is called {verb!r}; {meant}")
