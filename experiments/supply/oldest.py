"""The lock of the oldest versions that pyproject.toml allows, without what is heavy.

    uv pip compile --resolution lowest-direct ... | python -m experiments.supply.oldest

Of a lock of the oldest versions the pins are written that requirements.lock has in
another version. What is left out, torch with its libraries before all, comes from the
environment of requirements.lock.
"""

import sys
from pathlib import Path

from experiments.supply.locks import blocks, pins

HEAD = "# Written by make lock: the oldest versions that pyproject.toml allows, where\n"
HEAD += "# requirements.lock has others. For Python 3.11 on Linux.\n"


def differing(oldest: str, newest: str) -> str:
    """The blocks of a lock whose version another lock does not have."""
    known = pins(newest)
    kept: list[str] = []
    for block in blocks(oldest):
        [(name, versions)] = pins(block).items()
        if not versions & known.get(name, set()):
            kept.append(block)
    return HEAD + "\n".join(kept) + "\n"


if __name__ == "__main__":
    newest = Path("requirements.lock").read_text(encoding="utf-8")
    sys.stdout.write(differing(sys.stdin.read(), newest))
