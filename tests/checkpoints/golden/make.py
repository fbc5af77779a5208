"""Writes mergekit.safetensors: what mergekit 0.1.5 makes of a tiny Llama's experts.

    pip install mergekit
    python -m tests.checkpoints.golden.make

Inputs stand in the file as `base/NAME`, `a/NAME` and `b/NAME`, results as `CASE/NAME`.
The cases are those below; every merge is in float32.
"""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FILE = Path(__file__).with_name("mergekit.safetensors")
TINY = {
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def both(**parameters):
    """Parameters of a and b, a pair each, as mergekit lists models."""
    models = []
    for index, name in enumerate("ab"):
        own = {word: pair[index] for word, pair in parameters.items()}
        models.append({"model": name, "parameters": own})
    return models


FILTERS = [{"filter": "self_attn", "value": [0.9, 0.1]}, {"value": 0.5}]
# Cases that `tadrop merge --recipe` takes as they are.
RECIPES = {
    "linear": {"merge_method": "linear", "models": both(weight=(1.0, 3.0))},
    "linear_with_the_base": {
        "merge_method": "linear",
        "base_model": "base",
        "models": both(weight=(1.0, 3.0)),
        "parameters": {"weight": 2.0},
    },
    "task_arithmetic": {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": both(weight=(0.5, -0.25)),
        "parameters": {"lambda": 0.7},
    },
    "gradients": {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": both(weight=([0.1, 0.9], FILTERS)),
    },
    "ties": {
        "merge_method": "ties",
        "base_model": "base",
        "models": both(weight=(1.0, 0.5), density=(0.5, 0.3)),
        "parameters": {"lambda": 1.5},
    },
    "ties_rescaled": {
        "merge_method": "ties",
        "base_model": "base",
        "models": both(weight=(1.0, 1.0)),
        "parameters": {"density": 0.4, "rescale": True},
    },
    "sce": {
        "merge_method": "sce",
        "base_model": "base",
        "models": both(),
        "parameters": {"select_topk": 0.5},
    },
    "slerp": {
        "merge_method": "slerp",
        "base_model": "base",
        "models": [{"model": "base"}, {"model": "b"}],
        "parameters": {"t": 0.3},
    },
    "slerp_by_tensor": {
        "merge_method": "slerp",
        "base_model": "base",
        "models": [{"model": "base"}, {"model": "b"}],
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 0.5, 1]},
                {"filter": "mlp", "value": [1, 0]},
                {"value": 0.5},
            ]
        },
    },
}
ONES = both(weight=(1.0, 1.0))
WHOLE = {"density": 1.0}
# Here TIES' trim follows the drop, which is not so there.
KEPT_WHOLE = ["--set", "sparsify.keep=1.0", "--set", "sparsify.trim.keep=1.0"]
# Cases of methods that draw, where nothing is left to chance, and of others that no
# recipe is mapped to; and the words of `tadrop merge` that mean the same.
ROWS = {
    "dare_of_all": (
        {"merge_method": "dare_linear", "parameters": WHOLE},
        ["-m", "dare", "--set", "keep=1.0"],
    ),
    "dare_ties_of_all": (
        {"merge_method": "dare_ties", "parameters": {**WHOLE, "normalize": True}},
        ["-m", "dare_ties", *KEPT_WHOLE],
    ),
    "della_of_all": (
        {"merge_method": "della", "parameters": {**WHOLE, "epsilon": 0.0}},
        ["-m", "della", "--set", "keep=1.0", "--set", "window=0.0"],
    ),
    "breadcrumbs": (
        {"merge_method": "breadcrumbs", "parameters": {"density": 0.5, "gamma": 0.25}},
        [
            *("-m", "breadcrumbs_tensor", "--set", "outliers=0.25"),
            *("--set", "keep=0.75", "--set", "count=floor"),
        ],
    ),
}


def models(folder):
    """Writes the base and its experts into a folder; returns their tensors."""
    import transformers

    config = transformers.LlamaConfig(**TINY, num_hidden_layers=3)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    states = {}
    for number, name in enumerate(("base", "a", "b")):
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        states[name] = load_file(folder / name / "model.safetensors")
    return states


def made(folder, content):
    """What mergekit writes for the content of a recipe."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    placed = dict(content)
    if "base_model" in placed:
        placed["base_model"] = str(folder / placed["base_model"])
    placed["models"] = []
    for entry in content["models"]:
        placed["models"].append(entry | {"model": str(folder / entry["model"])})
    with tempfile.TemporaryDirectory() as out:
        config = MergeConfiguration.model_validate(placed)
        run_merge(config, out, MergeOptions(copy_tokenizer=False))
        files = sorted(Path(out).glob("*.safetensors"))
        states = {}
        for file in files:
            states |= load_file(file)
    return {name: tensor.clone() for name, tensor in states.items()}


def main():
    """Runs every case."""
    stored = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = models(folder)
        cases = dict(RECIPES)
        for case, (content, _) in ROWS.items():
            cases[case] = {"base_model": "base", "models": ONES} | content
        for case, content in cases.items():
            results[case] = made(folder, {"dtype": "float32", **content})
    for case, state in results.items():
        for name, tensor in state.items():
            stored[f"{case}/{name}"] = tensor.float()
    save_file(stored, FILE, {"made_by": "mergekit 0.1.5"})


if __name__ == "__main__":
    main()
