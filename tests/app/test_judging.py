"""Merges measured, compared, unpacked and searched, on tiny models and a tiny text."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tadrop.app.judging.measuring import measure
from tadrop.app.verbs.checkpoints import compare, merge, tune_merge, unpack
from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints.tiny_models import VIT, family, llama, loaded

TEXT = "the cat sat on the mat and the dog ate the cat " * 12
WORDS = sorted({*TEXT.split()})


def speaking(folder):
    """Writes a tokenizer of whole words into a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))


@pytest.fixture
def world(tmp_path, monkeypatch):
    family(tmp_path, llama())
    for name in ("base", "a", "b"):
        speaking(tmp_path / name)
    (tmp_path / "data.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_perplexity_is_the_mean_over_blocks(world):
    found = measure(Path("base"), Path("data.txt"), Path("base"), 3)
    model = loaded("AutoModelForCausalLM", "base").eval()
    tokens = torch.tensor([1 + WORDS.index(word) for word in TEXT.split()])
    values = []
    for block in tokens.split(32)[:3]:
        logits = model(block[None]).logits[0, :-1].log_softmax(-1)
        values.append(logits.gather(1, block[1:, None]).mean().item())
    np.testing.assert_allclose(found.values, values, rtol=1e-4)
    assert found.shown() == f"{math.exp(-np.mean(values)):.3f}"


def test_compare_shows_all_models_and_intervals(world, capsys):
    merge.main(["base", "a", "b", "-m", "average", "-o", "out"])
    capsys.readouterr()
    compare.main(["out", "base", "a", "b", "--data", "data.txt"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("perplexity (lower is better), 5 examples")
    assert [line.split()[0] for line in lines[2:]] == ["merge", "base", "a", "b"]
    assert all(" % [" in line for line in lines[3:])
    with pytest.raises(SystemExit, match=r"none\.txt: no such text file, or folder of"):
        compare.main(["out", "base", "--data", "none.txt"])
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[lm-eval\]'"):
        compare.main(["out", "base", "--tasks", "arc_easy"])


def test_unpack_writes_what_expand_writes(world):
    merge.main(["base", "a", "b", "-m", "emr", "--tadrop", "-o", "packed"])
    merge.main(["base", "a", "b", "-m", "emr", "--tadrop", "--expand", "-o", "whole"])
    unpack.main(["packed", "b", "-o", "one"])
    mine, theirs = open_checkpoint("one"), open_checkpoint("whole/b")
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name in mine.tensors:
        assert torch.equal(mine[name], theirs[name]), name
    loaded("AutoModelForCausalLM", "one")
    with pytest.raises(SystemExit, match="has no task 'c'; it has a, b"):
        unpack.main(["packed", "c", "-o", "two"])
    with pytest.raises(SystemExit, match="every task has weights of its own here"):
        compare.main(["packed", "base", "--data", "data.txt"])


def test_accuracy_on_images_by_class(tmp_path, monkeypatch):
    import transformers

    monkeypatch.chdir(tmp_path)
    labels = {"label2id": {"red": 0, "blue": 1}, "id2label": {0: "red", 1: "blue"}}
    config = transformers.ViTConfig(**VIT, **labels)
    model = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    model.save_pretrained("model")
    size = {"height": 16, "width": 16}
    processor = {"image_processor_type": "ViTImageProcessor", "size": size}
    Path("model/preprocessor_config.json").write_text(json.dumps(processor))
    for name, count in (("red", 3), ("blue", 1)):
        Path("images", name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (20, 20), name).save(f"images/{name}/{number}.png")
    found = measure(Path("model"), Path("images"), Path("model"), 100)
    assert sorted(found.values) == [0, 1, 1, 1]
    assert found.shown() == "75.00"


def test_tune_merge_goes_on_and_writes_the_best(world, capsys):
    pytest.importorskip("optuna")
    words = [
        "base",
        "a",
        "b",
        "--data",
        "data.txt",
        "--methods",
        "average,ties",
        "-o",
        "best",
    ]
    tune_merge.main([*words, "--trials", "2"])
    first = capsys.readouterr()
    assert "2/2 method=" in first.err
    tune_merge.main([*words, "--trials", "3", "--overwrite"])
    again = capsys.readouterr()
    assert "3/3 method=" in again.err
    assert "2/3" not in again.err
    shown = float(again.out.splitlines()[1].split()[1])
    best = measure(Path("best"), Path("data.txt"), Path("best"), 100)
    assert math.exp(-best.score) == pytest.approx(shown, abs=6e-4)
    with pytest.raises(SystemExit, match="holds a study of other models"):
        tune_merge.main([*words, "--limit", "2"])


def test_without_optuna_one_line_says_so(world, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[optuna\]'"):
        tune_merge.main(["base", "a", "--data", "data.txt", "-o", "best"])
