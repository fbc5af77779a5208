"""Vocabularies: which token a row of an embedding is, and models brought to the same one.

`tokenizer=base` keeps the base's tokens, a name takes that model's, `union` adds the
tokens of all experts to the base's. Rows go by token, not by number. A token that the
base lacks has one row for all, the mean of those that know it, so that no formula moves
it; a token that an expert lacks has the base's row there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.checkpoints.made import Maker, with_made
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
    """{token: row} as a folder's tokenizer has it; None where it has none that is read."""
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
        return f"{expert.rows} rows against {base.rows}"
    return None


@dataclass(frozen=True)
class Target:
    """The vocabulary that comes out: {token: row}, so many rows, whose tokenizer."""

    tokens: Mapping[str, int]
    rows: int
    donor: Path | None = None
    added: tuple[Mapping[str, Any], ...] = ()


def target(word: str, models: Mapping[str, Model]) -> Target:
    """What `base`, `union` or an expert's name means. The base is called "base" here."""
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


def aligned(models: Mapping[str, Model], goal: Target) -> dict[str, Checkpoint]:
    """Every model's checkpoint with rows by the tokens of the goal."""
    names = _vocabulary_tensors(models[BASE])
    brought: dict[str, Checkpoint] = {}
    for name, model in models.items():
        makers: dict[str, Maker] = {}
        likes: dict[str, Tensor] = {}
        for tensor in names:
            if tensor in model.checkpoint.tensors:
                makers[tensor] = _maker(models, goal, model, tensor)
                like = model.checkpoint.like(tensor)
                axis = like.dim() - 1 if tensor.endswith("logits_bias") else 0
                shape = list(like.shape)
                shape[axis] = goal.rows
                likes[tensor] = torch.empty(shape, dtype=torch.float32, device="meta")
        brought[name] = with_made(model.checkpoint, makers, likes)
    base = brought[BASE]
    config = {**base.beside.config, "vocab_size": goal.rows}
    beside = replace(
        base.beside, tokenizer=goal.donor, tokens=goal.added, config=config
    )
    brought[BASE] = replace(base, beside=beside)
    return brought


def _vocabulary_tensors(base: Model) -> list[str]:
    """The base's tensors that have a row for every token."""
    names: list[str] = []
    for name in base.checkpoint.tensors:
        shape = list(base.checkpoint.like(name).shape)
        embeds = name == embedding_of(base.checkpoint.tensors) or is_target(name)
        is_bias = name.endswith(BIASES)
        if (embeds and shape[:1] == [base.rows]) or (is_bias and base.rows in shape):
            names.append(name)
    return names


def _maker(
    models: Mapping[str, Model], goal: Target, model: Model, tensor: str
) -> Maker:
    def made() -> Tensor:
        common = _common(models, goal, tensor)
        return _rows(model, goal, tensor, common, models[BASE])

    return made


def _flat(model: Model, tensor: str) -> Tensor:
    """[row, ...] float32, whatever axis the tokens have in the file."""
    stored = model.checkpoint[tensor].float()
    return stored.reshape(-1, 1) if stored.shape[0] == 1 else stored


def _common(models: Mapping[str, Model], goal: Target, tensor: str) -> Tensor:
    """A row for every token, [rows, ...]: the base's, or the mean of those that know it."""
    base = _flat(models[BASE], tensor)
    total = torch.zeros(goal.rows, *base.shape[1:])
    count = torch.zeros(goal.rows, *[1] * (base.dim() - 1))
    for name, model in models.items():
        if name != BASE and tensor in model.checkpoint.tensors:
            here, there = _pairs(goal, model)
            total.index_add_(0, here, _flat(model, tensor)[there])
            count.index_add_(0, here, torch.ones(len(here), *count.shape[1:]))
    common = total / count.clamp(min=1)
    padding = min(goal.rows, len(base))
    unnamed = torch.ones(goal.rows, dtype=torch.bool)
    unnamed[torch.tensor(sorted(goal.tokens.values()), dtype=torch.long)] = False
    common[:padding][unnamed[:padding]] = base[:padding][unnamed[:padding]]
    here, there = _pairs(goal, models[BASE])
    common[here] = base[there]
    return common


def _rows(
    model: Model, goal: Target, tensor: str, common: Tensor, base: Model
) -> Tensor:
    """A model's rows: its own for tokens that it and the base know, else the common."""
    rows = common.clone()
    known = base.known()
    shared: dict[str, int] = {}
    for token, row in model.known().items():
        if token in known:
            shared[token] = row
    here, there = _pairs(goal, replace(model, tokens=shared))
    rows[here] = _flat(model, tensor)[there]
    like = model.checkpoint.like(tensor)
    return rows.reshape(1, -1) if like.shape[0] == 1 else rows


def _pairs(goal: Target, model: Model) -> tuple[Tensor, Tensor]:
    """Rows in the goal, and rows in the model, of the tokens that both have."""
    here: list[int] = []
    there: list[int] = []
    for token, row in model.known().items():
        if token in goal.tokens and row < model.rows:
            here.append(goal.tokens[token])
            there.append(row)
    return torch.tensor(here, dtype=torch.long), torch.tensor(there, dtype=torch.long)


def refusal(tasks: Sequence[str], reasons: Sequence[str]) -> TadropError:
    """The error about vocabularies that differ where nobody said what to do."""
    told = "; ".join(f"{task}: {why}" for task, why in zip(tasks, reasons, strict=True))
    return TadropError(
        f"vocabularies differ from the base's ({told}); choose the one that comes out: "
        "--tokenizer base, union, or an expert's name (model.tokenizer=...)"
    )
