"""Tiny models of transformers with random weights, saved as their users have them."""

import copy
import json

import torch

LLAMA = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
BERT = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


def llama(**more):
    """A Llama of two layers; its seed is 0."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**LLAMA, **more})
    return transformers.LlamaForCausalLM(config)


def moved(model, seed, size=0.02):
    """The model with noise on every parameter; tied ones stay tied."""
    torch.manual_seed(seed)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return other


def family(folder, model, names=("a", "b")):
    """A base and experts saved in folders: the base's, the experts', and the models."""
    models = {"base": model}
    for seed, name in enumerate(names, 1):
        models[name] = moved(model, seed)
    for name, one in models.items():
        one.save_pretrained(folder / name)
    return folder / "base", [folder / name for name in names], models


def edit(file, **changes):
    """Writes values into a JSON file; None takes a key away."""
    content = json.loads(file.read_text()) if file.exists() else {}
    for key, value in changes.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    file.write_text(json.dumps(content))


def loaded(name, folder):
    """A class of transformers, loaded from a folder without a key missing or left."""
    import transformers

    cls = getattr(transformers, name)
    model, report = cls.from_pretrained(folder, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[key], f"{key}: {report[key]}"
    return model


def average(name, models):
    """The mean of one parameter over models."""
    states = [model.state_dict()[name] for model in models]
    return torch.stack(states).mean(0)


VIT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
