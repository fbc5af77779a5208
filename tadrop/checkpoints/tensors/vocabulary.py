"""Vocabularies: which token a row of an embedding is, and models brought to the same one.

`tokenizer=base` keeps the base's tokens, a name takes that model's, `union` adds the
tokens of all experts to the base's. Rows go by token, not by number. A token that the
base lacks has one row for all, the mean of those that know it, so that no formula moves
it; a token that an expert lacks has the base's row there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tadrop.checkpoints.tensors.tied import embedding_of, is_target
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.torch_files.refusal import reading
from tadrop.types import TadropError

UNION, BASE = "union", "base"
BIASES = (
    "lm_head.bias",
    "predictions.bias",
    "predictions.decoder.bias",
    "final_logits_bias",
)


@dataclass(frozen=True)
class Model:
    """A model with its vocabulary.

    tokens: {token: its row}; None where no file tells it
    rows:   of its embedding
    """

    checkpoint: Checkpoint
    folder: Path
    tokens: Mapping[str, int] | None
    rows: int

    def known(self) -> Mapping[str, int]:
        """Its tokens; where nothing tells them, every row is one."""
        if self.tokens is not None:
            return self.tokens
        found: dict[str, int] = {}
        for row in range(self.rows):
            found[f"row {row}"] = row
        return found


def read_tokens(folder: Path) -> dict[str, int] | None:
    """{token: row} as a folder's tokenizer has it;
    None where it has none that is read.
    """
    tokens: dict[str, int] = {}
    whole, words, lines = (
        folder / name for name in ("tokenizer.json", "vocab.json", "vocab.txt")
    )
    if whole.is_file():
        content = _json(whole)
        vocabulary = (content.get("model") or {}).get("vocab") or {}
        if isinstance(vocabulary, list):
            for row, entry in enumerate(vocabulary):
                tokens[entry[0]] = row
        else:
            tokens |= vocabulary
        for entry in content.get("added_tokens") or ():
            tokens[entry["content"]] = entry["id"]
        return tokens or None
    if words.is_file():
        tokens |= _json(words)
    elif lines.is_file():
        with reading(lines):
            text = lines.read_text(encoding="utf-8")
        for row, token in enumerate(text.splitlines()):
            tokens[token] = row
    added = folder / "added_tokens.json"
    if tokens and added.is_file():
        tokens |= _json(added)
    return tokens or None


def _json(file: Path) -> dict[str, Any]:
    with reading(file):
        content = json.loads(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def model_of(checkpoint: Checkpoint, folder: Path) -> Model | None:
    """A model with its vocabulary; None for one that has no embedding of words."""
    name = embedding_of(checkpoint.tensors)
    if name is None or len(checkpoint.like(name).shape) != 2:
        return None
    return Model(
        checkpoint, folder, read_tokens(folder), checkpoint.like(name).shape[0]
    )


def unlike(base: Model, expert: Model) -> str | None:
    """How two vocabularies differ, in words; None where rows mean the same tokens."""
    ours, theirs = base.tokens, expert.tokens
    if ours is not None and theirs is not None and ours != theirs:
        names: list[str] = []
        for token in theirs:
            if ours.get(token) != theirs[token]:
                names.append(token)
        names = names or list(ours.keys() - theirs.keys())
        first = ", ".join(map(repr, sorted(names)[:3]))
        return f"{len(theirs)} tokens against {len(ours)}, unlike: {first}"
    if base.rows != expert.rows:
        same = ", for the same tokens" if only_pads(base, expert) else ""
        return f"{expert.rows} rows against {base.rows}{same}"
    return None


def only_pads(base: Model, expert: Model) -> bool:
    """Whether two models have rows for the same tokens, and others that only pad."""
    if base.tokens is None or base.tokens != expert.tokens:
        return False
    return max(base.tokens.values(), default=0) < min(base.rows, expert.rows)


def row_tensors(base: Model) -> list[str]:
    """The base's tensors that have a row for every token."""
    names: list[str] = []
    for name in base.checkpoint.tensors:
        shape = list(base.checkpoint.like(name).shape)
        embeds = name == embedding_of(base.checkpoint.tensors) or is_target(name)
        is_bias = name.endswith(BIASES)
        if (embeds and shape[:1] == [base.rows]) or (is_bias and base.rows in shape):
            names.append(name)
    return names


@dataclass(frozen=True)
class Words:
    """The vocabularies of a base, here called "base", and of its experts.

    unlike:  how an expert's differs, by its name
    refusal: what is wrong where that is not settled; None where it is
    """

    models: Mapping[str, Model]
    unlike: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None

    @property
    def tensors(self) -> list[str]:
        """The base's tensors that have a row for every token."""
        return row_tensors(self.models[BASE])

    def told(self) -> list[str]:
        """`expert: how it differs`, a text each."""
        return [f"{name.strip()}: {why}" for name, why in self.unlike.items()]


def compared(models: Mapping[str, Model], word: str | None) -> Words:
    """The vocabularies compared. word: which of them comes out; None if nobody said it

    Rows that only pad need no word: the base's stay.
    """
    ours = models[BASE]
    reasons: dict[str, str] = {}
    padded = True
    for name, one in models.items():
        why = unlike(ours, one)
        if why:
            reasons[name] = why
            padded = padded and only_pads(ours, one)
    words = Words(models, reasons)
    if word is not None or padded:
        return words
    return replace(
        words,
        refusal=f"vocabularies differ from the base's ({'; '.join(words.told())}); "
        "choose the one that comes out: --tokenizer base, union, or an expert's name "
        "(model.tokenizer=...)",
    )


@dataclass(frozen=True)
class Target:
    """The vocabulary that comes out: {token: row}, so many rows, whose tokenizer."""

    tokens: Mapping[str, int]
    rows: int
    donor: Path | None = None
    added: tuple[Mapping[str, Any], ...] = ()


def target(word: str, models: Mapping[str, Model]) -> Target:
    """What `base`, `union` or an expert's name means.
    The base is called "base" here.
    """
    if word == UNION:
        return _union(models)
    if word != BASE and word not in models:
        names = ", ".join(sorted(models.keys() - {BASE}))
        raise TadropError(
            f"tokenizer is {word!r}; it is base, union, or one of {names}"
        )
    chosen = models[word]
    donor = chosen.folder if word != BASE else None
    return Target(chosen.known(), chosen.rows, donor)


def _union(models: Mapping[str, Model]) -> Target:
    base = models[BASE]
    tokens = dict(base.known())
    added: list[Mapping[str, Any]] = []
    free = max(tokens.values(), default=-1) + 1
    for model in models.values():
        for token in sorted(model.known(), key=model.known().__getitem__):
            if token not in tokens:
                tokens[token] = free
                added.append({"id": free, "content": token, **_settings(model, token)})
                free += 1
    # Rows that only pad are taken first.
    rows = max(base.rows, free)
    return Target(tokens, rows, None, tuple(added if base.tokens is not None else ()))


def _settings(model: Model, token: str) -> dict[str, Any]:
    """How a tokenizer treats an added token: as its own does."""
    usual = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }
    file = model.folder / "tokenizer.json"
    if file.is_file():
        for entry in _json(file).get("added_tokens") or ():
            if entry["content"] == token:
                found: dict[str, str] = {}
                for key, value in usual.items():
                    found[key] = entry.get(key, value)
                return found
    return usual
