"""Sixteen architectures of transformers, tiny and random, merged and loaded back.

Formulas are checked against plain ones written here, on every merged tensor.
"""

import json

import pytest
import torch

from tadrop import merge_checkpoints
from tadrop.checkpoints.tensors.kinds import is_constant, is_statistic
from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints.tiny_models import BERT, LLAMA, loaded, moved

pytestmark = pytest.mark.slow

DECODER = dict(LLAMA)
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 16,
    "vocab_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
# (class that is saved and loaded, its configuration's class, its settings)
MODELS = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "qwen2": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {**DECODER, "tie_word_embeddings": True},
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", DECODER),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        {**DECODER, "num_local_experts": 2},
    ),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**DECODER, "head_dim": 4}),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 96},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", BERT),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", BERT),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**BERT, "embedding_size": 8}),
    "t5": ("T5ForConditionalGeneration", "T5Config", {**T5, "vocab_size": 96}),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
    "clip": (
        "CLIPModel",
        "CLIPConfig",
        {"text_config": BERT, "vision_config": VISION, "projection_dim": 8},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "vocab_size": 96},
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
    "sentence": ("BertModel", "BertConfig", BERT),
}


@pytest.fixture(scope="module", params=MODELS)
def world(request, tmp_path_factory):
    """A base and two experts on disk, and the class that loads them."""
    import transformers

    name, config, settings = MODELS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = getattr(transformers, config)(**settings)
    base = getattr(transformers, name)(config)
    base.save_pretrained(folder / "base")
    for seed, expert in enumerate(("a", "b"), 1):
        moved(base, seed).save_pretrained(folder / expert)
    if request.param == "sentence":
        (folder / "base" / "1_Pooling").mkdir()
        (folder / "base" / "1_Pooling" / "config.json").write_text("{}")
        modules = [{"path": ""}, {"path": "1_Pooling"}]
        (folder / "base" / "modules.json").write_text(json.dumps(modules))
    return folder, name


def taus_of(folder):
    """{tensor: (theta0, task vectors)} of all that is merged, by the files alone."""
    base = open_checkpoint(folder / "base")
    experts = [open_checkpoint(folder / name) for name in "ab"]
    found = {}
    for name, theta0 in base.tensors.items():
        buffer = is_statistic(name) or is_constant(name, theta0)
        if theta0.is_floating_point() and not buffer:
            taus = torch.stack([expert[name] - theta0 for expert in experts])
            found[name] = theta0, taus
    return found


@pytest.mark.parametrize("tadrop", [False, True])
@pytest.mark.parametrize("method", ["average", "ties", "emr", "tsv_m"])
def test_it_loads_back(world, tmp_path, method, tadrop):
    folder, name = world
    experts = [folder / "a", folder / "b"]
    out = tmp_path / "out"
    written = merge_checkpoints(
        folder / "base", experts, out, method, tadrop=tadrop, expand=True
    )
    places = [out / "a", out / "b"]
    if written.kind == "full":
        places.append(out)
    for place in places:
        model = loaded(name, place)
        for tensor in model.state_dict().values():
            assert torch.isfinite(tensor.float()).all()
    if folder.name.startswith("sentence"):
        assert (out / "1_Pooling" / "config.json").is_file()
    if not tadrop:
        CHECKS[method](folder, places)


def check_average(folder, places):
    merged = open_checkpoint(places[-1])
    for name, (theta0, taus) in taus_of(folder).items():
        torch.testing.assert_close(merged[name], theta0 + taus.mean(0))


def check_ties(folder, places):
    """Trim to a fifth of the model, elect, mean of those that agree."""
    merged = open_checkpoint(places[-1])
    found = taus_of(folder)
    flat = torch.cat([taus.reshape(2, -1) for _, taus in found.values()], 1)
    count = int(0.2 * flat.shape[1]) + 1
    cut = flat.abs().topk(count).values[:, -1]
    trimmed = torch.where(flat.abs() >= cut[:, None], flat, 0)
    sign = trimmed.sum(0).sign()
    agree = torch.where(sign > 0, trimmed > 0, trimmed < 0)
    mean = (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)
    start = 0
    for name, (theta0, _) in found.items():
        delta = mean[start : start + theta0.numel()].view(theta0.shape)
        torch.testing.assert_close(merged[name], theta0 + delta)
        start += theta0.numel()


def check_emr(folder, places):
    """The elected maximum, each task's mask, and its rescaler over the whole model."""
    found = taus_of(folder)
    flat = torch.cat([taus.reshape(2, -1) for _, taus in found.values()], 1)
    sign = flat.sum(0).sign()
    unified = torch.where(flat * sign > 0, flat.abs(), 0).amax(0) * sign
    for task, place in enumerate(places[:2]):
        masked = torch.where(flat[task] * unified > 0, unified, 0)
        factor = flat[task].abs().double().sum() / masked.abs().double().sum()
        merged = open_checkpoint(place)
        start = 0
        for name, (theta0, _) in found.items():
            delta = masked[start : start + theta0.numel()].view(theta0.shape)
            wanted = theta0 + float(factor) * delta
            torch.testing.assert_close(merged[name], wanted, rtol=1e-5, atol=1e-6)
            start += theta0.numel()


def check_tsv_m(folder, places):
    """Tensors that are no matrices are averaged; matrices are not."""
    merged = open_checkpoint(places[-1])
    differs = 0
    for name, (theta0, taus) in taus_of(folder).items():
        mean = theta0 + taus.mean(0)
        close = torch.allclose(merged[name], mean, rtol=1e-5, atol=1e-6)
        assert close or theta0.dim() == 2, name
        differs += not close
    assert differs or folder.name.startswith("resnet")


CHECKS = {
    "average": check_average,
    "ties": check_ties,
    "emr": check_emr,
    "tsv_m": check_tsv_m,
}
