"""The methods that checkpoints on disk can be merged by, and what each needs."""

from textwrap import fill, indent, shorten

import yaml

from tadrop.app.boards.catalogue import MERGE, merge_rows
from tadrop.app.schema.only_merges import READING
from tadrop.app.schema.signatures import signature

HEAD = """Methods of `tadrop merge --method NAME`, and what each needs:
  base  task vectors of a base   w takes --weight   t takes --t   2 two models
"""


def listing() -> str:
    """One line a method; those that look at data run with `tadrop run` alone."""
    lines = [HEAD]
    others: list[str] = []
    for row in merge_rows().values():
        if row.data != "none" or reads(row.name):
            others.append(row.name)
            continue
        needs = ["" if row.baseless else "base"]
        takes = settings_of(row.name)
        needs.append("w" if "weights" in takes else "")
        needs.append("t" if "t" in takes else "")
        needs.append("" if row.models is None else str(row.models))
        about = shorten(row.about, 50, placeholder="...")
        lines.append(f"  {row.name:<18} {' '.join(filter(None, needs)):<8} {about}\n")
    told = "These look at data or at the model; tadrop run merge=NAME:"
    lines.append(f"\n{told}\n{indent(fill(', '.join(others), 76), '  ')}\n")
    return "\n".join(lines[:1]) + "".join(lines[1:])


def reads(row: str) -> bool:
    """Whether a part of the row looks at data or at the model."""
    content = yaml.safe_load((MERGE / f"{row}.yaml").read_text(encoding="utf-8"))
    return any(content.get(word) is not None for word in READING)


def has_weights(row: str) -> bool:
    """Whether the row's formula takes weights."""
    return "weights" in settings_of(row)


def settings_of(row: str) -> set[str]:
    """The settings that the row's formula takes, as its source says."""
    text = (MERGE / f"{row}.yaml").read_text(encoding="utf-8")
    merge = yaml.safe_load(text)["method"].get("merge") or {}
    takes = signature(merge.get("_target_", ""))
    return set() if takes is None else set(takes.kinds)
