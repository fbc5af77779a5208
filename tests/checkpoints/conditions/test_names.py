"""12 to 14 and 20 to 26: tensors that are tied, missing, more or of another shape."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tadrop.app.verbs.checkpoints import merge, unpack
from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints import family as plain
from tests.checkpoints.conditions import merged, noted, refused
from tests.checkpoints.tiny_models import (
    BERT,
    average,
    edit,
    family,
    llama,
    loaded,
    moved,
)


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_12_tied_weights_keep_the_name_that_loaders_want(tmp_path, form):
    base, experts, models = family(tmp_path, llama(tie_word_embeddings=True))
    if form == "bin":
        for name, model in models.items():
            (tmp_path / name / "model.safetensors").unlink()
            torch.save(model.state_dict(), tmp_path / name / "pytorch_model.bin")
    out = merged(base, experts, tmp_path / "out").path
    name = "model.embed_tokens.weight"
    assert name in load_file(out / "model.safetensors")
    assert "lm_head.weight" not in load_file(out / "model.safetensors")
    wanted = average(name, [models["a"], models["b"]])
    body, whole = loaded("AutoModel", out), loaded("AutoModelForCausalLM", out)
    torch.testing.assert_close(body.embed_tokens.weight, wanted)
    torch.testing.assert_close(whole.lm_head.weight, wanted)


def test_13_a_tied_head_stored_twice_is_one_tensor(tmp_path):
    base, experts, _ = family(tmp_path, llama(tie_word_embeddings=True))
    state = load_file(experts[0] / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, experts[0] / "model.safetensors", {"format": "pt"})
    out = merged(base, experts, tmp_path / "out").path
    assert "lm_head.weight" not in load_file(out / "model.safetensors")
    loaded("AutoModelForCausalLM", out)


def store_twice(folder, apart=0.0):
    """Writes the tied head a second time, as training code may; apart: added to it."""
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"] + apart
    save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("with_base", [True, False])
@pytest.mark.parametrize("has_key", [True, False])
def test_13_the_first_model_alone_stores_it_twice(tmp_path, with_base, has_key):
    base, experts, models = family(tmp_path, llama(tie_word_embeddings=True))
    first = base if with_base else experts[0]
    store_twice(first)
    if not has_key:  # a configuration of which only the class ties
        edit(first / "config.json", tie_word_embeddings=None)
    out = merged(base if with_base else None, experts, tmp_path / "out").path
    state = load_file(out / "model.safetensors")
    assert "lm_head.weight" not in state
    mean = average("model.embed_tokens.weight", [models["a"], models["b"]])
    torch.testing.assert_close(state["model.embed_tokens.weight"], mean)
    model = loaded("AutoModelForCausalLM", out)
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_14_the_base_stores_it_twice_and_an_expert_trained_it_apart(tmp_path, capsys):
    base, experts, models = family(tmp_path, llama(tie_word_embeddings=True))
    store_twice(base)
    store_twice(experts[0], apart=1)
    out = merged(base, experts, tmp_path / "out").path
    assert "lm_head.weight was trained apart from model.embed_tokens" in noted(capsys)
    mean = average("model.embed_tokens.weight", [models["a"], models["b"]])
    model = loaded("AutoModelForCausalLM", out)
    torch.testing.assert_close(model.model.embed_tokens.weight, mean)
    torch.testing.assert_close(model.lm_head.weight, mean + 0.5)


def test_14_a_head_trained_apart_is_merged_apart(tmp_path, capsys):
    base, experts, models = family(tmp_path, llama(tie_word_embeddings=True))
    state = load_file(experts[0] / "model.safetensors")
    embedding = state["model.embed_tokens.weight"]
    state["lm_head.weight"] = embedding + 1
    save_file(state, experts[0] / "model.safetensors", {"format": "pt"})
    out = merged(base, experts, tmp_path / "out").path
    assert "lm_head.weight was trained apart from model.embed_tokens" in noted(capsys)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    model = loaded("AutoModelForCausalLM", out)
    mean = average("model.embed_tokens.weight", [models["a"], models["b"]])
    torch.testing.assert_close(model.model.embed_tokens.weight, mean)
    torch.testing.assert_close(model.lm_head.weight, mean + 0.5)


def test_20_a_body_without_head_under_a_base_with_one(tmp_path):
    base, experts, models = family(tmp_path, llama())
    state = load_file(experts[0] / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, experts[0] / "model.safetensors", {"format": "pt"})
    line = r"1 of the base are missing: lm_head.weight \(--keep-base 'lm_head\.\*'\)"
    refused(base, experts, tmp_path / "out", line)
    out = merged(base, experts, tmp_path / "out", keep_base=["lm_head.*"]).path
    kept = open_checkpoint(out)["lm_head.weight"]
    assert torch.equal(kept, models["base"].lm_head.weight)
    line = r"keep_base lm_had: no tensor of the base .*base is called so"
    refused(base, experts, tmp_path / "no", line, keep_base=["lm_had"])


def test_21_a_base_without_head_and_experts_around_it(tmp_path, capsys):
    import transformers

    torch.manual_seed(0)
    body = transformers.BertModel(transformers.BertConfig(**BERT))
    body.save_pretrained(tmp_path / "base")
    classifiers = {}
    for seed, (name, labels) in enumerate((("a", 3), ("b", 5)), 1):
        config = transformers.BertConfig(**BERT, num_labels=labels)
        classifiers[name] = transformers.BertForSequenceClassification(config)
        classifiers[name].bert = moved(body, seed)
        classifiers[name].save_pretrained(tmp_path / name)
    experts = [tmp_path / "a", tmp_path / "b"]
    out = merged(tmp_path / "base", experts, tmp_path / "out", expand=True).path
    said = noted(capsys)
    assert "a: its tensors are the base's without 'bert.' their names" in said
    assert "classifier.bias, classifier.weight stand around the base's body" in said
    name = "encoder.layer.0.output.dense.weight"
    mean = average(name, [classifiers["a"].bert, classifiers["b"].bert])
    torch.testing.assert_close(loaded("AutoModel", out).state_dict()[name], mean)
    one = loaded("AutoModelForSequenceClassification", out / "b")
    assert torch.equal(one.classifier.weight, classifiers["b"].classifier.weight)
    torch.testing.assert_close(one.bert.state_dict()[name], mean)


def test_22_another_architecture_and_23_another_size(tmp_path):
    import transformers

    base, experts, _ = family(tmp_path, llama())
    other = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=96)
    )
    other.save_pretrained(tmp_path / "gpt")
    llama(hidden_size=32).save_pretrained(tmp_path / "wide")
    line = r"gpt does not fit.*another architecture: model_type llama against gpt2"
    refused(base, [*experts, tmp_path / "gpt"], tmp_path / "out", line)
    line = (
        r"(?s)gpt does not fit.*wide does not fit.*size of model: hidden_size 16 agai"
    )
    refused(base, [tmp_path / "gpt", tmp_path / "wide"], tmp_path / "out", line)


def test_24_a_head_of_another_shape_and_25_a_pattern_that_fits_nothing(tmp_path):
    base, experts, _theta0, thetas = plain(tmp_path, tasks=2)
    thetas[0]["block.weight"] = torch.zeros(7, 24)
    save_file(thetas[0], experts[0] / "model.safetensors")
    line = r"1 have another shape: block.weight \[40, 24\] against \[7, 24\] \(if they "
    refused(base, experts, tmp_path / "out", line + r".*--private 'block\.weight'\)")
    line = r"model\.private=\[blok\.\*\]: no tensor is called so; did you mean block\."
    refused(base, experts, tmp_path / "out", line, private=["blok.*"])


@pytest.mark.parametrize("method", ["average", "emr"])
def test_26_private_heads_without_expand_are_said_and_unpacked(
    tmp_path, capsys, monkeypatch, method
):
    base, experts, theta0, thetas = plain(tmp_path, tasks=2)
    for number, state in enumerate((theta0, *thetas)):
        state["head.weight"] = torch.full((2 + number, 3), float(number))
        folder = (base, *experts)[number]
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    names = [path.name for path in (base, *experts)]
    monkeypatch.chdir(tmp_path)
    words = [*names, "-m", method, "--private", "head.*"]
    line = (
        "head.weight stay each expert's own, and OUT has those of base; --expand writes "
        "a folder per expert with its own, tadrop unpack one of them"
    )
    merge.main([*words, "-o", "out", "--dry-run"])
    assert line in noted(capsys)
    merge.main([*words, "-o", "out"])
    assert line in noted(capsys)
    assert line in json.loads(Path("out/tadrop.json").read_text())["notes"]
    merge.main([*words, "-o", "whole", "--expand"])
    assert "stay each expert's own" not in noted(capsys)
    for name in names[1:]:
        unpack.main(["out", name, "-o", f"of-{name}"])
        assert "stay each" not in noted(capsys)
        mine, theirs = open_checkpoint(Path(f"of-{name}")), tmp_path / "whole" / name
        theirs = open_checkpoint(theirs)
        assert mine.tensors.keys() == theirs.tensors.keys()
        for tensor in mine.tensors:
            assert torch.equal(mine[tensor], theirs[tensor]), tensor
    with pytest.raises(SystemExit, match=r"base: holds no tadrop\.yaml; OUT of tadrop"):
        unpack.main(["base", names[1], "-o", "no"])


def test_26_heads_that_the_base_lacks(tmp_path, capsys):
    base, experts, _, thetas = plain(tmp_path, tasks=1)
    state = thetas[0] | {"head.weight": torch.ones(2)}
    save_file(state, experts[0] / "model.safetensors", {"format": "pt"})
    merged(base, experts, tmp_path / "out", private=["head.*"])
    line = "head.weight stay each expert's own, and OUT has none of them; --expand"
    assert line in noted(capsys)


def test_26_each_expert_comes_out_with_its_own_head_and_labels(tmp_path):
    import transformers

    experts = []
    for name, labels in (("base", 2), ("a", 3), ("b", 7)):
        config = transformers.BertConfig(
            **BERT, id2label={number: f"{name}{number}" for number in range(labels)}
        )
        model = transformers.BertForSequenceClassification(config)
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "vocab.txt").write_text("[PAD]\n" * 1)
        experts.append(tmp_path / name)
    base, *experts = experts
    out = merged(
        base, experts, tmp_path / "out", "emr", private=["classifier.*"], expand=True
    ).path
    for name, labels in (("a", 3), ("b", 7)):
        model = loaded("AutoModelForSequenceClassification", out / name)
        assert model.config.id2label == {n: f"{name}{n}" for n in range(labels)}
        own = open_checkpoint(tmp_path / name)["classifier.weight"]
        assert torch.equal(model.classifier.weight, own)
