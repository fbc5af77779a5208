"""Tokenizers of one vocabulary that differ in how a model is talked to.

A chat template, an end of turn, the settings of generation: they are of the tokenizer
that is chosen, and one line says whose that is.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadrop.storage.torch_files.refusal import reading
from tadrop.types import TadropError

TEMPLATE = "chat_template"
AUTO = "auto"  # the commonest template
# What a folder with a tokenizer has at least one of.
FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "tekken.json"),
    *("vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
)
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer's files stand in a folder."""
    return any((folder / name).is_file() for name in FILES)


def template(word: str, folders: Mapping[str, Path]) -> str:
    """The chat template that a word means: a model's, the commonest, or a file's.

    word: one of the names of folders, `auto`, or a path. Raises TadropError where there
    is none.
    """
    known: dict[str, Any] = {}
    for name, folder in folders.items():
        found = _manner(folder).get(TEMPLATE)
        if found:
            known[name] = found
    if word == AUTO and known:
        ((chosen, _),) = Counter(map(str, known.values())).most_common(1)
        return chosen
    if word in known:
        if not isinstance(known[word], str):
            raise TadropError(
                f"chat_template={word}: it has several; give the file of one"
            )
        return known[word]
    file = Path(word).expanduser()
    if word not in (*folders, AUTO) and file.is_file():
        with reading(file):
            return file.read_text(encoding="utf-8")
    raise TadropError(
        f"chat_template={word}: there is no template; it is auto, a file, or one of "
        f"{', '.join(known) or 'the models, of which none has one'}"
    )


def told(
    folders: Mapping[str, Path], chosen: str, has_template: bool = False
) -> list[str]:
    """A line where the chosen tokenizer is not that of all that have one, or is none.

    folders: of every model by name; chosen: one of the names; has_template: whether
    the template was chosen by itself
    """
    manners: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        if has_tokenizer(folder):
            manners[name] = _manner(folder)
    if manners and chosen not in manners:
        return [
            f"{chosen} has no tokenizer, and so OUT has none; "
            f"--tokenizer {next(iter(manners))} takes one"
        ]
    unlike: dict[str, list[str]] = {}
    for name, manner in manners.items():
        for word in SPECIAL if has_template else (TEMPLATE, *SPECIAL):
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
