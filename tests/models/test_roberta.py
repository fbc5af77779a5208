"""RoBERTa on GLUE with its own metrics, against transformers, scipy and scikit-learn."""

import json

import numpy as np
import pytest
import torch

from tadrop.app.runs import run
from tadrop.tasks.glue import TextSource
from tadrop.tasks.metrics.correlations import correlation, matthews
from tadrop.types import TadropError
from tests import text_hub
from tests.models.test_gpt2 import configure, texts

TASKS = {"cola": 2, "stsb": 1, "rte": 2}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    write_hub(root)
    return root


def write_hub(root):
    """A tiny RoBERTa, three fine-tunings of it, and their data."""
    from transformers import (
        RobertaConfig,
        RobertaForMaskedLM,
        RobertaForSequenceClassification,
    )

    sizes = {
        "vocab_size": 400,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    sizes |= {
        "intermediate_size": 32,
        "max_position_embeddings": 140,
        "type_vocab_size": 1,
    }
    home = root / "models" / "FacebookAI" / "roberta-base"
    torch.manual_seed(0)
    base = RobertaForMaskedLM(RobertaConfig(**sizes))
    base.save_pretrained(home)
    text_hub.write_tokenizer(home)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = json.loads((home / "vocab.json").read_text())
    kept = {
        word: i + 5
        for word, i in sorted(vocabulary.items(), key=lambda item: item[1])[: 400 - 5]
    }
    (home / "vocab.json").write_text(
        json.dumps(dict(zip(special, range(5), strict=True)) | kept)
    )
    (home / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer"})
    )
    merges = (home / "merges.txt").read_text().splitlines()
    inside = [m for m in merges[1:] if m.replace(" ", "") in kept]
    (home / "merges.txt").write_text("\n".join([merges[0], *inside]) + "\n")
    for task, classes in TASKS.items():
        expert = RobertaForSequenceClassification(
            RobertaConfig(**sizes, num_labels=classes)
        )
        expert.roberta.load_state_dict(base.roberta.state_dict())
        with torch.no_grad():
            for parameter in expert.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        target = (
            root
            / "models"
            / "vanillaOVO"
            / "roberta_base_glue_ckpts"
            / task
            / "roberta-base_lr1e-05"
        )
        expert.save_pretrained(target)
    data = root / "datasets" / "nyu-mll" / "glue"
    text_hub.write_glue(data, rows=24)
    write_stsb(data / "stsb")


def write_stsb(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        rng = np.random.default_rng(0)
        columns = {
            c: [text_hub.sentence(rng) for _ in range(24)]
            for c in ("sentence1", "sentence2")
        }
        labels = (5 * rng.random(24)).round(1).astype(np.float32)
        pq.write_table(
            pa.table(columns | {"label": labels}),
            folder / f"{split}-00000-of-00001.parquet",
        )


def theirs(hub, task, monkeypatch):
    from transformers import AutoTokenizer, RobertaForSequenceClassification

    models = hub / "models"
    folder = (
        models
        / "vanillaOVO"
        / "roberta_base_glue_ckpts"
        / task
        / "roberta-base_lr1e-05"
    )
    model = RobertaForSequenceClassification.from_pretrained(folder).eval()
    monkeypatch.setitem(
        text_hub.GLUE, "stsb", (["sentence1", "sentence2"], ["validation"], 1)
    )
    columns, labels = texts(hub, task)
    tokenizer = AutoTokenizer.from_pretrained(models / "FacebookAI" / "roberta-base")
    encoded = tokenizer(
        *columns,
        padding="max_length",
        truncation=True,
        max_length=128,
        return_tensors="pt",
    )
    with torch.no_grad():
        return model(**encoded).logits.numpy(), labels


def test_a_run_gives_the_metrics_of_transformers(hub, tmp_path, monkeypatch):
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import matthews_corrcoef

    places = (
        f"paths.hub={hub}",
        f"paths.cache={tmp_path}/cache",
        f"paths.records={tmp_path}/records",
    )
    some = ("tasks.names=[cola,stsb,rte]", "tasks.strict=false")
    record = run.run(
        configure(
            "model=roberta_base", *places, *some, "merge=individual", "tadrop=off"
        )
    )
    scores = {s["task"]: s for s in record["scores"]}
    logits, labels = theirs(hub, "cola", monkeypatch)
    assert scores["cola"]["value"] == pytest.approx(
        matthews_corrcoef(labels, logits.argmax(1))
    )
    assert scores["cola"]["metric"] == "Matthews correlation"
    logits, labels = theirs(hub, "stsb", monkeypatch)
    pair = (
        pearsonr(logits[:, 0], labels).statistic,
        spearmanr(logits[:, 0], labels).statistic,
    )
    assert scores["stsb"]["details"] == pytest.approx(
        {"Pearson": pair[0], "Spearman": pair[1]}, abs=1e-5
    )
    assert scores["stsb"]["value"] == pytest.approx(sum(pair) / 2, abs=1e-5)
    logits, labels = theirs(hub, "rte", monkeypatch)
    assert scores["rte"]["value"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert (tmp_path / "records" / f"{record['key']}.correct.npz").exists()


def test_metrics_where_they_are_not_defined():
    assert matthews(np.zeros(3), np.array([0, 1, 1])) == {"Matthews correlation": 0.0}
    assert correlation(np.zeros(3), np.arange(3.0)) == {"correlation": 0.0}
    with pytest.raises(TadropError, match="no metric is called 'f1'"):
        TextSource("a/b", "c", ["text"], metric="f1")
