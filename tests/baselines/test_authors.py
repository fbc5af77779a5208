"""Rows give what their authors' published code gives, on the same tensors.

Values that the file itself calls undetermined are not compared; all others are equal
within the entry's tolerance. authors.py says where the file is.
"""

import pytest
import torch
from torch import nn

from baselines import regmean, twin
from tadrop.numerics import compiled
from tadrop.sparsify import magprune, random_cut
from tadrop.types import Slot
from tests.baselines import authors

ENTRIES = authors.entries()
DROPPED = 2**32 - 1  # a draw that no limit lets through
# Rows of the suite for entries that the file gives to several rows, or to none.
ROWS = {
    "pcb_es": "pcb_es",
    "sce.mergekit": "sce_mergekit",
    "sce.mergekitselect0.1": "sce",
    "sce.fuseai": "sce_code",
    "sce.fuseaiselect0.1": "sce_code",
    "fisher_batch": "fisher_batch",
    "fisher_batch.unnormalised": "fisher_batch",
    "fisher.favor1.normalised1": "fisher",
    "fisher.favor1.normalised0": "fisher",
    "fisher.favor0.normalised1": "fisher",
    "fisher.favor0.normalised0": "fisher",
    "regmean.a1.0": "regmean",
    "regmean.a0.9": "regmean",
    "regmean.a0.1": "regmean",
}
EQUAL = "merge.method.survey.weights=equal"
FIRST = "merge.method.merge.floored=first"
OPTIONS = {
    "fisher_batch.unnormalised": [EQUAL],
    "fisher.favor1.normalised1": [FIRST],
    "fisher.favor1.normalised0": [FIRST, EQUAL],
    "fisher.favor0.normalised0": [EQUAL],
    "regmean.a1.0": ["merge.method.merge.off_diagonal=1.0"],
    "regmean.a0.9": ["merge.method.merge.off_diagonal=0.9"],
    "regmean.a0.1": ["merge.method.merge.off_diagonal=0.1"],
    "sce.fuseai": ["merge.method.merge.select=1.0"],
}
OWN_WAY = ("regmean_gram", "regmean_from_inputs", "twin_svd")


def keys(*methods, but=()):
    """The entries of these methods, or of all but some."""
    chosen = []
    for key, entry in ENTRIES.items():
        is_wanted = entry["method"] in methods if methods else True
        if is_wanted and entry["method"] not in but:
            chosen.append(key)
    return chosen


def test_every_entry_is_compared():
    compared = {*keys(but=OWN_WAY), *keys(*OWN_WAY)}
    assert compared == set(ENTRIES)
    assert len(ENTRIES) == 120


def draws_of(entry):
    """Draws that keep what the entry's masks keep, in the place of random_cut.draws."""

    def draws(words, start, size, device="cpu"):
        task, name = words[2:]
        mask = authors.tensors()[f"given/{entry['given']}/{task}/mask/{name}"]
        kept = mask.flatten()[start : start + size].bool()
        return torch.where(kept, 0, DROPPED)

    return draws


@pytest.mark.parametrize("key", keys(but=OWN_WAY))
def test_a_row_gives_its_authors_values(key, monkeypatch):
    entry = ENTRIES[key]
    variant = key.partition("@")[0]
    row = ROWS.get(variant, entry.get("row"))
    options = [*entry.get("options", []), *OPTIONS.get(variant, [])]
    statistics = None
    kinds = [words.split("/")[1] for words in entry.get("given_keys", [])]
    if "mask" in kinds:
        monkeypatch.setattr(compiled, "serves", lambda size, tensor: False)
        for module in (random_cut, magprune):
            monkeypatch.setattr(module, "draws", draws_of(entry))
    elif kinds:
        tasks = authors.tasks_of(entry)
        statistics = authors.Given(entry["given"], kinds[0], tasks)
    deltas = authors.run(entry, row, options, statistics)
    errors = authors.errors(key, entry, deltas)
    assert errors
    assert max(errors.values()) <= entry["tolerance"], errors


def batches_of(entry, task):
    """The inputs of the linear layer, batch by batch."""
    inputs = authors.under(f"given/{entry['given']}/{task}/inputs")
    return [inputs[index] for index in sorted(inputs)]


def grams(entry, task):
    """What the row measures of a linear layer on these inputs."""
    rows, columns = entry["shapes"]["a.weight"]
    module = nn.Sequential(nn.Linear(columns, rows, bias=False))
    shape = (rows, columns)
    slot = Slot("0.weight", shape, shape, (columns, 1), 0)
    row = authors.config("regmean")
    settings = dict(row.merge.statistics.collect)
    words = {name: settings[name] for name in settings if not name.startswith("_")}
    inputs = iter(batches_of(entry, task))
    return regmean.gram(module, inputs, {"a.weight": slot}, **words)["a.weight"]


@pytest.mark.parametrize("key", keys("regmean_gram"))
def test_a_gram_matrix_is_that_of_the_tokens(key):
    entry = ENTRIES[key]
    gram = {(t, "a.weight"): grams(entry, t) for t in authors.tasks_of(entry)}
    errors = authors.errors(key, entry, gram)
    assert max(errors.values()) <= entry["tolerance"], errors


@pytest.mark.parametrize("key", keys("regmean_from_inputs"))
def test_regmean_from_inputs_to_the_merged_matrix(key):
    entry = ENTRIES[key]
    tasks = authors.tasks_of(entry)
    statistics = torch.stack([grams(entry, task) for task in tasks])
    ratio = entry["settings"]["reduce_non_diagonal_ratio"]
    taus = authors.stream(entry).taus("a.weight")
    delta = regmean.merge(taus, statistics, off_diagonal=ratio)[0]
    errors = authors.errors(key, entry, {(tasks[0], "a.weight"): delta})
    assert max(errors.values()) <= entry["tolerance"], errors


@pytest.mark.parametrize("key", keys("twin_svd"))
def test_twins_compression(key):
    entry = ENTRIES[key]
    vectors = authors.stream(entry)
    values = {}
    for name in vectors.names:
        thin = twin.compress(vectors.taus(name), keep=entry["settings"]["density"])
        for task, value in zip(vectors.tasks, twin.dense(thin), strict=True):
            values[task, name] = value
    errors = authors.errors(key, entry, values)
    assert max(errors.values()) <= entry["tolerance"], errors
