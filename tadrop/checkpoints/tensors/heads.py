"""Tensors around the body: tied heads, heads that an expert lacks,
heads of adapters.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.checkpoints.lora import Adapter
from tadrop.checkpoints.made import with_taken, without
from tadrop.checkpoints.tensors.tied import embedding_of, is_target
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

Experts = Mapping[str, Checkpoint]


def with_heads(
    base: Checkpoint, experts: Experts, private: Sequence[str]
) -> tuple[Checkpoint, dict[str, Checkpoint], list[str]]:
    """Heads that one input stores and another makes from its embedding.

    Where all of them equal their embeddings, they are one tensor with it. A head that
    was trained apart is merged beside it, and then stands in every model.
    """
    notes: list[str] = []
    experts = dict(experts)
    base = _with_one_name(base, experts, private)
    for head in _candidates(base, experts, private):
        source = base.aliases.get(head) or embedding_of(base.tensors)
        if source is None:
            continue
        apart: list[str] = []
        for task, expert in experts.items():
            if not _is_tied(expert, head, source):
                apart.append(task)
        if apart:
            base = _with_own(base, head, source)
            for task, expert in experts.items():
                experts[task] = _with_own(expert, head, source)
            notes.append(
                f"{head} was trained apart from {source} in {', '.join(apart)}: both are "
                "merged, and config.json says tie_word_embeddings: false"
            )
        else:
            for task, expert in experts.items():
                experts[task] = _without(expert, head)
    return base, experts, notes


def _with_one_name(
    base: Checkpoint, experts: Experts, private: Sequence[str]
) -> Checkpoint:
    """The base without heads that it stores a second time and an expert only once.

    They equal their embedding, and config.json says so: a loader makes them from it.
    """
    source = embedding_of(base.tensors)
    for head in list(base.tensors):
        if source is None or not is_target(head) or is_private(head, private):
            continue
        is_missing = any(head not in expert.tensors for expert in experts.values())
        if is_missing and _is_tied(base, head, source):
            config = {**base.beside.config, "tie_word_embeddings": True}
            base = replace(
                without(base, (head,)),
                aliases={**base.aliases, head: source},
                beside=replace(base.beside, config=config),
            )
    return base


def _candidates(
    base: Checkpoint, experts: Experts, private: Sequence[str]
) -> list[str]:
    """Heads that an expert stores and the base does not."""
    heads: set[str] = set()
    for expert in experts.values():
        for name in expert.tensors:
            if name not in base.tensors and is_target(name):
                heads.add(name)
    for pattern in private:
        heads -= set(fnmatch.filter(heads, pattern))
    return sorted(heads)


def _is_tied(expert: Checkpoint, head: str, source: str) -> bool:
    """Whether an expert's head is its embedding, stored once or twice."""
    if head not in expert.tensors or source not in expert.tensors:
        return True
    one, other = expert.like(head), expert.like(source)
    return one.shape == other.shape and torch.equal(expert[head], expert[source])


def _with_own(checkpoint: Checkpoint, head: str, source: str) -> Checkpoint:
    """A checkpoint whose head is a tensor of its own, though equal to its embedding."""
    aliases = dict(checkpoint.aliases)
    aliases.pop(head, None)
    config = {**checkpoint.beside.config, "tie_word_embeddings": False}
    beside = replace(checkpoint.beside, config=config)
    if source in checkpoint.tensors and head not in checkpoint.tensors:
        checkpoint = with_taken(checkpoint, {head: source}, checkpoint)
    return replace(checkpoint, aliases=aliases, beside=beside)


def _without(expert: Checkpoint, head: str) -> Checkpoint:
    """An expert with its head as another name of its embedding.

    Where it stores the head alone, matching finds it under that name.
    """
    others: list[str] = []
    for name in expert.tensors:
        if name != head:
            others.append(name)
    if head not in expert.tensors or embedding_of(dict.fromkeys(others)) is None:
        return expert
    return without(expert, (head,))


def with_kept(
    base: Checkpoint, experts: Experts, patterns: Sequence[str]
) -> dict[str, Checkpoint]:
    """Experts that have the base's tensors where they are told to.

    Raises TadropError for a pattern that no tensor of the base fits.
    """
    for pattern in patterns:
        if not fnmatch.filter(base.tensors, pattern):
            raise TadropError(
                f"keep_base {pattern}: no tensor of the base {base.path} is called so"
            )
    kept: list[str] = []
    for name in base.tensors:
        if is_private(name, patterns):
            kept.append(name)
    if not kept:
        return dict(experts)
    changed: dict[str, Checkpoint] = {}
    for task, expert in experts.items():
        changed[task] = with_taken(expert, dict(zip(kept, kept, strict=True)), base)
    return changed


def adapter_names(adapter: Adapter, base: Checkpoint) -> dict[str, str]:
    """The base's tensor for every module, one prefix changed for all where need be."""
    targets = adapter.targets()
    known = {**base.tensors, **dict.fromkeys(base.aliases)}
    for change in _changes(list(targets.values()), known):
        new: dict[str, str] = {}
        for module, name in targets.items():
            new[module] = _changed(name, change)
        if known.keys() >= set(new.values()):
            found: dict[str, str] = {}
            for module, name in new.items():
                found[module] = base.aliases.get(name, name)
            return found
    return targets


def adapter_values(adapter: Adapter, base: Checkpoint) -> dict[str, Tensor]:
    """Tensors that an adapter trained whole,
    under the base's names where it has them.
    """
    values: dict[str, Tensor] = {}
    for name, tensor in adapter.values.items():
        options: list[str] = []
        for change in _changes([name], base.tensors):
            options.append(_changed(name, change))
        fitting: list[str] = []
        for option in options:
            if option in base.tensors:
                fitting.append(option)
        values[fitting[0] if fitting else name] = tensor
    return values


def _changes(
    names: Sequence[str], known: Mapping[str, object]
) -> list[tuple[str, str]]:
    """Prefixes to strip and to add, the names as they are first."""
    words = set[str]()
    for name in names:
        words.add(f"{name.partition('.')[0]}.")
    above = set[str]()
    for name in known:
        above.add(f"{name.partition('.')[0]}.")
    stripped: list[tuple[str, str]] = []
    for word in sorted(words):
        stripped.append((word, ""))
    return [
        ("", ""),
        *stripped,
        *(("", word) for word in sorted(above)),
    ]


def _changed(name: str, change: tuple[str, str]) -> str:
    stripped, added = change
    return added + name.removeprefix(stripped)
