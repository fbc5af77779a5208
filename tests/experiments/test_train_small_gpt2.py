"""The small GPT-2 of the offline path: trained in seconds on made-up sentences, then merged like
any other.
"""

import numpy as np
import pytest

from experiments import train_small_gpt2
from tadrop.app.runs import run
from tests import text_hub
from tests.models.test_gpt2 import configure


@pytest.fixture
def hub(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text_hub.write_glue(tmp_path / "hub" / "datasets" / "nyu-mll" / "glue", rows=60)
    for name, columns, splits in (
        ("trec", ["text"], ["train", "test"]),
        ("sick", ["premise", "hypothesis"], ["train", "validation", "test"]),
    ):
        folder = tmp_path / "hub" / "datasets" / "extra" / name / "data"
        folder.mkdir(parents=True)
        for split in splits:
            rng = np.random.default_rng(len(split))
            table = {
                c: [text_hub.sentence(rng) for _ in range(60)] for c in columns
            } | {"label": rng.integers(0, 3, 60)}
            pq.write_table(pa.table(table), folder / f"{split}-00000-of-00001.parquet")
    return tmp_path / "hub"


def test_trains_resumes_and_merges(hub, tmp_path, monkeypatch, capsys):
    sizes = {
        "vocab_size": 300,
        "n_positions": 256,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
    }
    monkeypatch.setattr(train_small_gpt2, "SIZES", sizes)
    monkeypatch.setattr(
        train_small_gpt2, "BASE", train_small_gpt2.BASE | {"epochs": 1, "batch": 8}
    )
    monkeypatch.setattr(train_small_gpt2, "TASK", train_small_gpt2.TASK | {"epochs": 1})
    out = tmp_path / "out"
    command = [
        "train_small_gpt2",
        "--hub",
        str(hub),
        "--out",
        str(out),
        "--threads",
        "1",
    ]
    monkeypatch.setattr("sys.argv", command)
    train_small_gpt2.main()
    made = {
        path: path.stat().st_mtime_ns
        for path in sorted(out.glob("*/model.safetensors"))
    }
    assert [path.parent.name for path in made] == [
        "base",
        "cola",
        "mrpc",
        "qnli",
        "rte",
        "sick",
        "sst2",
        "trec",
    ]
    next(iter(made)).parent.parent.joinpath("trec", "model.safetensors").unlink()
    train_small_gpt2.main()
    assert all(
        path.stat().st_mtime_ns == time
        for path, time in made.items()
        if path.parent.name != "trec"
    )
    assert (out / "trec" / "model.safetensors").exists()
    places = (
        f"paths.hub={hub}",
        f"paths.cache={tmp_path}/cache",
        f"paths.records={tmp_path}/records",
    )
    models = (f"model.base={out}/base", f"model.experts='{out}/{{task}}'")
    record = run.run(
        configure("model=gpt2_small", *places, *models, "merge=ties", "tadrop=on")
    )
    assert [s["task"] for s in record["scores"]] == [
        "cola",
        "sst2",
        "mrpc",
        "rte",
        "qnli",
        "trec",
        "sick",
    ]
    assert all(s["count"] == 60 for s in record["scores"])
