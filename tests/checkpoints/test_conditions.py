"""What may be wrong or odd with checkpoints on disk, line by line: number is the line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tadrop import merge_checkpoints
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests.checkpoints import family as plain
from tests.checkpoints import save, weights
from tests.checkpoints.tiny_models import (
    BERT,
    average,
    edit,
    family,
    llama,
    loaded,
    moved,
)


def merged(base, experts, out, method="average", **more):
    return merge_checkpoints(base, experts, out, method, **more)


def refused(base, experts, out, match, **more):
    with pytest.raises(TadropError, match=match):
        merged(base, experts, out, **more)
    assert not out.exists()


def noted(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_01_a_path_wins_over_a_hub_id(tmp_path, monkeypatch):
    _base, _experts, *_ = plain(tmp_path / "org", tasks=1)
    monkeypatch.chdir(tmp_path)
    merged("org/base", ["org/a"], tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["7", "a b", "x=1", "p(1)", "{q}", "r,s", "ü#"])
def test_02_any_name_of_a_folder(tmp_path, name):
    base, experts, *_ = plain(tmp_path / "in", tasks=1)
    strange = tmp_path / name
    shutil.copytree(experts[0], strange)
    written = merged(base, [strange], tmp_path / f"out {name}")
    made = json.loads((written.path / "tadrop.json").read_text())
    assert list(made["checkpoints"]["experts"]) == [name]


def test_02_the_home_folder(tmp_path, monkeypatch):
    plain(tmp_path, tasks=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    merged("~/base", ["~/a"], tmp_path / "out")


def test_03_a_cached_repository_and_its_commit(tmp_path, monkeypatch):
    commit = "0" * 39 + "1"
    repository = tmp_path / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    base, experts, *_ = plain(tmp_path, tasks=1)
    snapshot = repository / "snapshots" / commit
    shutil.copytree(experts[0], snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    written = merged(base, ["org/tiny", f"old=org/tiny@{commit}"], tmp_path / "out")
    recipe = (written.path / "tadrop.yaml").read_text()
    assert f"tiny: org/tiny@{commit}" in recipe
    assert f"old: org/tiny@{commit}" in recipe
    card = (written.path / "README.md").read_text()
    assert "base_model:\n- org/tiny\n" in card


def test_04_a_repository_that_is_not_here(tmp_path, monkeypatch):
    base, *_ = plain(tmp_path, tasks=1)
    refused(
        base,
        ["org/none"],
        tmp_path / "out",
        r"org/none: no such file or folder here; this model needs org/none.*HF_HUB_OFF",
    )
    refused(base, ["./none"], tmp_path / "out", r"\./none: there is no such file or fo")


def test_07_equal_names_are_told_apart_by_parents(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=2)
    for run, expert in zip(("run1", "run2"), experts, strict=True):
        shutil.copytree(expert, tmp_path / run / "checkpoint-500")
    words = [tmp_path / run / "checkpoint-500" for run in ("run1", "run2")]
    written = merged(base, words, tmp_path / "out")
    made = json.loads((written.path / "tadrop.json").read_text())
    names = ["run1-checkpoint-500", "run2-checkpoint-500"]
    assert list(made["checkpoints"]["experts"]) == names
    named = [f"x={words[0]}", f"x={words[1]}"]
    refused(base, named, tmp_path / "no", r"two experts are called 'x'; name them")


def test_07_an_expert_called_base(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    shutil.copytree(experts[0], tmp_path / "experts" / "base")
    written = merged(base, [tmp_path / "experts" / "base"], tmp_path / "out")
    made = json.loads((written.path / "tadrop.json").read_text())
    assert list(made["checkpoints"]) == ["base", "experts"]
    assert list(made["checkpoints"]["experts"]) == ["base"]


def test_08_an_expert_that_is_the_base_is_noted(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    merged(base, [f"same={base}", experts[0]], tmp_path / "out")
    assert "same is the base: the same files" in noted(capsys)


def test_11_a_pointer_of_git_lfs(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4123\n"
    (experts[0] / "model.safetensors").write_text(text)
    line = (
        r"a/model.safetensors: a pointer of git-lfs.*4,123 bytes\); fetch it: git lfs"
    )
    refused(base, experts, tmp_path / "out", line)


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


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.model."])
def test_19_prefixes_of_wrappers(tmp_path, capsys, prefix):
    base, experts, _theta0, thetas = plain(tmp_path, tasks=2)
    state = {f"{prefix}{name}": tensor for name, tensor in thetas[0].items()}
    save_file(state, experts[0] / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert f"a: its tensors are the base's without '{prefix}'" in noted(capsys)
    mean = (thetas[0]["big.weight"] + thetas[1]["big.weight"]) / 2
    torch.testing.assert_close(open_checkpoint(out)["big.weight"], mean)


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
    refused(base, experts, tmp_path / "out", line + r".*--private 'block\.\*'\)")
    line = r"model\.private=\[blok\.\*\]: no tensor is called so; did you mean block\."
    refused(base, experts, tmp_path / "out", line, private=["blok.*"])


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


def test_33_an_adapter_beside_whole_weights(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    (experts[0] / "adapter_config.json").write_text("{}")
    (base / "adapter_config.json").write_text("{}")
    (base / "trainer_state.json").write_text("{}")
    out = merged(base, experts, tmp_path / "out").path
    assert "adapter_config.json beside whole weights" in noted(capsys)
    assert not (out / "adapter_config.json").exists()
    assert not (out / "trainer_state.json").exists()


def test_34_quantised_weights_by_configuration_and_by_name(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    edit(experts[0] / "config.json", quantization_config={"quant_method": "gptq"})
    line = r"a: its weights are quantised \(quantization_config in config.json, gptq\)"
    refused(base, experts, tmp_path / "out", line)
    (experts[0] / "config.json").unlink()
    state = {"l.qweight": torch.ones(4, dtype=torch.int32), "l.scales": torch.ones(4)}
    for name in ("q0", "q1"):
        save(tmp_path / name, state)
    line = r"q1: its weights are quantised \(tensor 'l.qweight'\)"
    refused(
        tmp_path / "q0", [tmp_path / "q1"], tmp_path / "out", line.replace("1", ".")
    )


def test_35_numbers_of_eight_bits_are_read(tmp_path, capsys):
    base = {"w": torch.linspace(-1, 1, 64).view(8, 8)}
    save(tmp_path / "base", base)
    eighth = base["w"].to(torch.float8_e4m3fn)
    save(tmp_path / "a", {"w": eighth})
    out = merged(tmp_path / "base", [tmp_path / "a"], tmp_path / "out").path
    assert "1 tensors are float8 and are read as float32" in noted(capsys)
    assert torch.equal(open_checkpoint(out)["w"], eighth.float())


def test_36_formats_of_other_programs(tmp_path):
    base, _experts, *_ = plain(tmp_path, tasks=1)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.gguf").write_bytes(b"GGUF")
    line = r"x/model\.gguf: \.gguf is not read; convert it to safetensors"
    refused(base, [tmp_path / "x"], tmp_path / "out", line)


def test_37_rounding_is_no_task_vector(tmp_path, capsys):
    base, _experts, theta0, _ = plain(tmp_path, tasks=1)
    copied = {}
    for name, tensor in theta0.items():
        copied[name] = tensor.bfloat16() if tensor.is_floating_point() else tensor
    save(tmp_path / "copy", copied)
    copy = [tmp_path / "copy"]
    written = merged(base, copy, tmp_path / "one", "task_arithmetic")
    assert "most of their difference may be rounding; --round-base" in noted(capsys)
    assert written.density > 0.9
    written = merged(base, copy, tmp_path / "two", "task_arithmetic", round_base=True)
    assert written.density == 0
    again = open_checkpoint(written.path)
    assert torch.equal(again["big.weight"], theta0["big.weight"])


def test_39_masks_that_all_have_are_constants(tmp_path):
    base, experts, theta0, thetas = plain(tmp_path, tasks=1)
    mask = torch.full((4, 4), -torch.inf).triu(1)
    for folder, state in ((base, theta0), (experts[0], thetas[0])):
        save_file(state | {"mask": mask}, folder / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert torch.equal(open_checkpoint(out)["mask"], mask)


def test_40_buffers_on_one_side(tmp_path):
    base, experts, theta0, thetas = plain(tmp_path, tasks=2)
    more = {"rotary.inv_freq": torch.ones(3), "position_ids": torch.arange(4)}
    save_file(thetas[0] | more, experts[0] / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert set(open_checkpoint(out).tensors) == set(theta0)
    save_file(theta0 | more, base / "model.safetensors")
    out = merged(base, experts, tmp_path / "two").path
    assert torch.equal(open_checkpoint(out)["rotary.inv_freq"], torch.ones(3))


def test_41_running_statistics_are_never_extrapolated(tmp_path, capsys):
    shapes = {"bn.weight": (4,), "bn.running_mean": (4,), "bn.running_var": (4,)}
    states = []
    for number, name in enumerate(("base", "a", "b")):
        state = weights(number, shapes=shapes)
        state["bn.running_var"] = torch.full((4,), [1.0, 0.2, 0.4][number])
        states.append(state)
        save(tmp_path / name, state)
    experts = [tmp_path / "a", tmp_path / "b"]
    settings = {"method": "task_arithmetic", "scale": 1.0}
    out = merged(tmp_path / "base", experts, tmp_path / "out", **settings).path
    assert "2 running statistics are the experts' mean" in noted(capsys)
    variances = open_checkpoint(out)["bn.running_var"]
    torch.testing.assert_close(variances, torch.full((4,), 0.3))
    settings["statistics"] = "base"
    out = merged(tmp_path / "base", experts, tmp_path / "two", **settings).path
    assert torch.equal(open_checkpoint(out)["bn.running_var"], torch.ones(4))


def test_42_integers_that_differ(tmp_path):
    base, experts, _theta0, thetas = plain(tmp_path, tasks=1)
    save_file(
        thetas[0] | {"steps": torch.arange(5) + 1}, experts[0] / "model.safetensors"
    )
    line = (
        r"integers that differ .*a: steps \(torch.int64\); keep the base's with --keep"
    )
    refused(base, experts, tmp_path / "out", line)
    merged(base, experts, tmp_path / "out", keep_base=["steps"])


def test_46_another_function_needs_force(tmp_path, capsys):
    base, experts, _ = family(tmp_path, llama())
    edit(experts[0] / "config.json", rope_theta=5e5, rope_parameters=None)
    line = (
        r"a computes otherwise than the base \(rope_theta: 10000.0 against 500000.0\)"
    )
    refused(base, experts, tmp_path / "out", line + ".*say --force")
    merged(base, experts, tmp_path / "out", force=True)
    assert "merged as forced" in noted(capsys)


def test_47_a_chat_template_is_of_the_tokenizer_that_is_taken(tmp_path, capsys):
    base, experts, *_ = family(tmp_path, llama())
    for folder in (base, *experts):
        edit(folder / "tokenizer_config.json", eos_token="</s>")
    edit(experts[0] / "tokenizer_config.json", chat_template="{{ x }}", eos_token="<e>")
    out = merged(base, experts, tmp_path / "out").path
    assert "the tokenizer is that of the base (chat_template differs in a" in noted(
        capsys
    )
    assert "chat_template" not in (out / "tokenizer_config.json").read_text()
    out = merged(base, experts, tmp_path / "two", tokenizer="a").path
    assert "the tokenizer is that of a" in noted(capsys)
    assert "{{ x }}" in (out / "tokenizer_config.json").read_text()


def test_48_files_of_sentence_transformers_are_copied(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text("{}")
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "../x"}]
    (base / "modules.json").write_text(json.dumps(modules))
    for name in ("sentencepiece.bpe.model", "LICENSE", "preprocessor_config.json"):
        (base / name).write_text("{}")
    out = merged(base, experts, tmp_path / "out").path
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files >= {"1_Pooling/config.json", "modules.json", "LICENSE"}
    assert files >= {"sentencepiece.bpe.model", "preprocessor_config.json"}
    assert "library_name: sentence-transformers" in (out / "README.md").read_text()


def test_52_no_base_and_53_what_needs_one(tmp_path):
    _, experts, _, thetas = plain(tmp_path, tasks=2)
    out = merged(None, experts, tmp_path / "out").path
    mean = (thetas[0]["big.weight"] + thetas[1]["big.weight"]) / 2
    torch.testing.assert_close(open_checkpoint(out)["big.weight"], mean)
    merged(None, experts, tmp_path / "turned", "slerp")
    line = "merge=ties is about differences from a base; name it"
    refused(None, experts, tmp_path / "no", line, method="ties")
    line = "TADrop sparsifies differences from a base; name it"
    refused(None, experts, tmp_path / "no", line, tadrop=True)


def test_54_slerp_of_one(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    line = "merge=slerp merges 2 models, and there are 1"
    refused(base, experts, tmp_path / "no", line, method="slerp")


def test_57_an_output_that_is_an_input(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    for out in (base, base / "out", tmp_path):
        with pytest.raises(TadropError, match="which is read for this merge"):
            merged(base, experts, out, overwrite=True)
