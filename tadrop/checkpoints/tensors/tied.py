"""Tied weights: one tensor of two names, written under the one that loaders want.

A loader makes the other name from it. The table follows the maps that transformers'
classes have in `_tied_weights_keys`; a checkpoint that names no family of it keeps the
first name.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from tadrop.storage.checkpoint import Checkpoint

# Names of output layers and of copies, each made from an embedding by its loader.
TARGETS = re.compile(
    r"(.*\.)?("
    r"lm_head(\.decoder)?|proj_out|predictions\.decoder|decoder\.output_projection"
    r"|generator_lm_head|embed_out|output_layer|pred_layer\.proj|head"
    r"|(encoder|decoder|text_encoder|text_decoder)\.embed_tokens"
    r")(\.weight)?"
)
BIASES = re.compile(r"(.*\.)?decoder\.bias")
# Names of embeddings of which a model has one: the words'.
EMBEDDINGS = re.compile(
    r"(.*\.)?(embed_tokens|wte|word_embeddings|shared|embeddings|embed_in|word_emb"
    r"|embedding)(\.weight)?"
)


def is_target(name: str) -> bool:
    """Whether a loader makes a tensor of this name from the one that it is tied to."""
    return (TARGETS.fullmatch(name) or BIASES.fullmatch(name)) is not None


def under_source(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with every tied tensor under the name that loaders read."""
    if not checkpoint.aliases or checkpoint.likes is not None:
        return checkpoint
    groups: dict[str, list[str]] = {}
    for alias, name in checkpoint.aliases.items():
        if name in checkpoint.tensors:
            groups.setdefault(name, [name]).append(alias)
    tensors = dict(checkpoint.tensors)
    aliases: dict[str, str] = {}
    for name, names in groups.items():
        source = min(names, key=is_target)  # the first that is no target
        tensors[source] = tensors.pop(name)
        for other in names:
            if other != source:
                aliases[other] = source
    ordered = dict(sorted(tensors.items()))
    return replace(
        checkpoint,
        tensors=ordered,
        aliases=dict(sorted(aliases.items())),
    )


def under_names_of(base: Checkpoint, expert: Checkpoint) -> Checkpoint:
    """The expert with its tied tensors under the names that the base has for them."""
    if expert.likes is not None:
        return expert
    tensors = dict(expert.tensors)
    groups: dict[str, list[str]] = {}
    for alias, name in expert.aliases.items():
        if name in tensors:
            groups.setdefault(name, [name]).append(alias)
    for name, names in groups.items():
        tensor = tensors.pop(name)
        here: list[str] = []
        for one in names:
            if one in base.tensors:
                here.append(one)
        for one in here or [min(names, key=is_target)]:
            tensors[one] = tensor
    for alias, name in base.aliases.items():
        if alias in tensors and name not in tensors:
            tensors[name] = tensors.pop(alias)
    return replace(expert, tensors=dict(sorted(tensors.items())), aliases={})


def embedding_of(tensors: Mapping[str, object]) -> str | None:
    """The words' embedding of a model that ties it; None where no name tells it."""
    found: list[str] = []
    for name in tensors:
        if EMBEDDINGS.fullmatch(name) and not is_target(name):
            found.append(name)
    return found[0] if len(found) == 1 else None
