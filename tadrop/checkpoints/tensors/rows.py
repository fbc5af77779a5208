"""Rows of embeddings and heads, brought to the tokens of one vocabulary.

A token that the base lacks has one row for all, the mean of those that know it, so that
no formula moves it; a token that an expert lacks has the base's row there.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.checkpoints.made import Maker, with_made
from tadrop.checkpoints.tensors.vocabulary import BASE, Model, Target, row_tensors
from tadrop.storage.checkpoint import Checkpoint


def aligned(models: Mapping[str, Model], goal: Target) -> dict[str, Checkpoint]:
    """Every model's checkpoint with rows by the tokens of the goal."""
    names = row_tensors(models[BASE])
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
    """A row for every token, [rows, ...]: the base's,
    or the mean of those that know it.
    """
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
