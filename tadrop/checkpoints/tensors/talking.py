"""Tokenizers of one vocabulary that differ in how a model is talked to.

A chat template, an end of turn, the settings of generation: they are of the tokenizer
that is chosen, and one line says whose that is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadrop.storage.torch_files.refusal import reading

TEMPLATE = "chat_template"
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def told(folders: Mapping[str, Path], chosen: str) -> list[str]:
    """A line where the chosen tokenizer is not that of all.

    folders: of every model by name; chosen: one of the names
    """
    manners: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        manners[name] = _manner(folder)
    unlike: dict[str, list[str]] = {}
    for name, manner in manners.items():
        for word in (TEMPLATE, *SPECIAL):
            if manner.get(word) != manners[chosen].get(word):
                unlike.setdefault(word, []).append(name)
    if not unlike:
        return []
    parts: list[str] = []
    for word, names in unlike.items():
        parts.append(f"{word} differs in {', '.join(names)}")
    return [
        f"the tokenizer is that of {chosen} ({'; '.join(parts)}); "
        "--tokenizer NAME takes another"
    ]


def _manner(folder: Path) -> dict[str, Any]:
    """How a folder's tokenizer begins, ends and frames a conversation."""
    manner: dict[str, Any] = {}
    file = folder / "tokenizer_config.json"
    if file.is_file():
        with reading(file):
            content = json.loads(file.read_text(encoding="utf-8"))
        for word in (TEMPLATE, *SPECIAL):
            value = content.get(word)
            manner[word] = value.get("content") if isinstance(value, dict) else value
    for name in ("chat_template.jinja", "chat_template.json"):
        if (folder / name).is_file():
            with reading(folder / name):
                text = (folder / name).read_text(encoding="utf-8")
            manner[TEMPLATE] = text
    return manner
