"""GLUE as a model sees it: splits, buckets, tokens and their cache, and what is refused."""

import shutil

import numpy as np
import pytest
import torch

from tadrop.app.runs import run
from tadrop.tasks.reading import tokens
from tadrop.types import TadropError
from tests import text_hub
from tests.models.test_gpt2 import configured, parts


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return text_hub.write(tmp_path_factory.mktemp("hub"))


def test_bucketing_reads_far_fewer_tokens():
    lengths = np.random.default_rng(0).permutation(
        np.concatenate([np.full(60, 10), np.full(20, 100), np.full(2, 700)])
    )
    batches = list(tokens.buckets(lengths, 512))
    assert sorted(np.concatenate(batches).tolist()) == list(range(82))
    assert [len(rows) for rows in batches] == [51, 9, 5, 5, 5, 5, 1, 1]
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert padded == lengths.sum() == 4000  # against 82 * 700


def test_mnli_mismatched_is_another_protocol(hub, tmp_path):
    _, matched = parts(hub, tmp_path, "tasks.names=[mnli]")
    _, mismatched = parts(
        hub,
        tmp_path,
        "tasks.names=[mnli]",
        "tasks.sources.mnli.test=validation_mismatched",
    )
    assert (
        matched.protocol()
        == "text-1, mnli validation_matched, cut (mnli has 12 of 9815 validation_matched rows)"
    )
    assert mismatched.protocol().endswith(
        "cut (mnli has 12 of 9832 validation_mismatched rows)"
    )
    assert matched.fingerprint("mnli", "test") != mismatched.fingerprint("mnli", "test")


def test_data_that_are_not_the_official_ones_are_refused_unless_asked_for(
    hub, tmp_path
):
    strict = ("tasks.names=[rte]", "tasks.strict=true")
    with pytest.raises(
        TadropError, match=r"rte has 12 of 277 validation rows.*tasks\.strict=false"
    ):
        run.run(configured(hub, tmp_path, *strict))
    exact = ("tasks.sources.rte.rows.validation=12",)
    with pytest.raises(TadropError, match=r"rte has 2 of 3 classes"):
        parts(hub, tmp_path, *strict, *exact, "tasks.sources.rte.classes=3")[1].tokens(
            "rte", "test"
        )
    assert parts(hub, tmp_path, *strict, *exact)[1].protocol() == "text-1"
    record = run.run(
        configured(hub, tmp_path, "merge=individual", "tadrop=off", *strict[:1])
    )
    assert (
        record["protocol"]["tasks"] == "text-1, cut (rte has 12 of 277 validation rows)"
    )


def test_validation_is_held_out_of_training(tmp_path):
    hub = tmp_path / "hub"
    text_hub.write_tokenizer(hub / "models" / "openai-community" / "gpt2")
    text_hub.write_glue(hub / "datasets" / "nyu-mll" / "glue", rows=60)
    _, tasks = parts(hub, tmp_path, "tasks.names=[cola]")
    rows = {}
    for split in ("train", "validation", "test"):
        tokens = tasks.tokens("cola", split)
        rows[split] = [
            tuple(t.tolist()) for t in torch.tensor_split(tokens.ids, tokens.ends[:-1])
        ]
    assert [len(rows[split]) for split in ("train", "validation", "test")] == [
        54,
        6,
        60,
    ]
    assert not set(rows["train"]) & set(rows["validation"])
    assert (
        tasks.tokens("cola", "validation").ids.tolist()
        == tasks.tokens("cola", "validation").ids.tolist()
    )


def test_tokens_are_cached_by_content(hub, tmp_path, monkeypatch):
    world = tmp_path / "hub"
    shutil.copytree(hub, world)
    first = parts(world, tmp_path, "tasks.names=[rte]")[1].fingerprint("rte", "test")
    calls = []
    real = tokens.tokenise
    monkeypatch.setattr(
        tokens, "tokenise", lambda *args: calls.append(args) or real(*args)
    )
    tokens.load.cache_clear()
    moved = tmp_path / "moved"
    world.rename(moved)
    assert (
        parts(moved, tmp_path, "tasks.names=[rte]")[1].fingerprint("rte", "test")
        == first
    )
    assert not calls
    shutil.copy(
        moved / "datasets/nyu-mll/glue/mrpc/validation-00000-of-00001.parquet",
        moved / "datasets/nyu-mll/glue/rte/validation-00000-of-00001.parquet",
    )
    tokens.load.cache_clear()
    assert (
        parts(moved, tmp_path, "tasks.names=[rte]")[1].fingerprint("rte", "test")
        != first
    )
    merges = moved / "models/openai-community/gpt2/merges.txt"
    merges.write_text("\n".join(merges.read_text().splitlines()[:-20]) + "\n")
    tokens.load.cache_clear()
    parts(moved, tmp_path, "tasks.names=[rte]")[1].fingerprint("rte", "test")
    assert len(calls) == 2


def test_hidden_labels_and_empty_texts_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.table({"sentence": ["a"], "label": [-1]}), file)
    with pytest.raises(TadropError, match="hidden test split"):
        tokens.read_rows((file,), ("sentence",))
    text_hub.write_tokenizer(tmp_path)
    pq.write_table(pa.table({"sentence": ["a", ""], "label": [0, 1]}), file)
    with pytest.raises(TadropError, match="row 1 is an empty text"):
        tokens.load((file,), ("sentence",), tmp_path, 512, None)
