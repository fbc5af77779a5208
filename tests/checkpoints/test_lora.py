"""LoRA folders as experts: every kind against its formula, worked out by hand."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from tadrop import merge_checkpoints
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests.checkpoints import save
from tests.checkpoints.tiny_models import family, llama, loaded

Q = "layers.0.q_proj"
SHAPES = {f"{Q}.weight": (6, 4), f"{Q}.bias": (6,), "embed_tokens.weight": (9, 4)}


def base_at(folder, shapes=None):
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in (shapes or SHAPES).items():
        state[name] = torch.randn(shape, generator=generator)
    save(folder, state)
    return state


def adapter(folder, tensors, **config):
    """A PEFT folder; tensors by their names in the adapted model."""
    folder.mkdir()
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 6} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def factors(out, into, rank=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, into, generator=generator)
    return a, torch.randn(out, rank, generator=generator)


def merged(tmp_path, folder, **more):
    settings = {"scale": 1.0, **more}
    out = merge_checkpoints(
        tmp_path / "base", [folder], tmp_path / "out", "task_arithmetic", **settings
    )
    return open_checkpoint(out.path)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 3.0),
        ({"use_rslora": True}, 6 / math.sqrt(2)),
        ({"r": 7, "rank_pattern": {"q_proj": 2}}, 3.0),
        ({"alpha_pattern": {r"layers\.\d+\.q_proj": 1}}, 0.5),
        ({"fan_in_fan_out": True}, 3.0),
    ],
)
@pytest.mark.parametrize("name", ["lora_{}.weight", "lora_{}.default.weight"])
def test_27_scale_times_b_times_a(tmp_path, config, scale, name):
    theta0 = base_at(tmp_path / "base")
    a, b = factors(6, 4)
    tensors = {f"{Q}.{name.format('A')}": a, f"{Q}.{name.format('B')}": b}
    again = merged(tmp_path, adapter(tmp_path / "a", tensors, **config))
    wanted = theta0[f"{Q}.weight"] + scale * b @ a
    torch.testing.assert_close(again[f"{Q}.weight"], wanted)
    for other in (f"{Q}.bias", "embed_tokens.weight"):
        assert torch.equal(again[other], theta0[other])


def test_layers_that_are_stored_in_times_out(tmp_path):
    shapes = {"h.0.c_fc.weight": (4, 6), "h.0.c_proj.weight": (4, 4)}
    theta0 = base_at(tmp_path / "base", shapes)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2"}')
    (a, b), (c, d) = factors(6, 4), factors(4, 4)
    tensors = {"h.0.c_fc.lora_A.weight": a, "h.0.c_fc.lora_B.weight": b}
    tensors |= {"h.0.c_proj.lora_A.weight": c, "h.0.c_proj.lora_B.weight": d}
    again = merged(tmp_path, adapter(tmp_path / "a", tensors))
    for name, delta in (("c_fc", b @ a), ("c_proj", d @ c)):
        wanted = theta0[f"h.0.{name}.weight"] + 3 * delta.T
        torch.testing.assert_close(again[f"h.0.{name}.weight"], wanted)


def test_embeddings_convolutions_and_biases(tmp_path):
    shapes = SHAPES | {"conv.weight": (5, 3, 2, 2)}
    theta0 = base_at(tmp_path / "base", shapes)
    a, b = factors(4, 9)  # [r, rows], [dim, r]
    c, d = torch.randn(2, 3, 2, 2), torch.randn(5, 2, 1, 1)
    (e, f), bias = factors(6, 4), torch.randn(6)
    tensors = {
        "embed_tokens.lora_embedding_A": a,
        "embed_tokens.lora_embedding_B": b,
        "conv.lora_A.weight": c,
        "conv.lora_B.weight": d,
        f"{Q}.lora_A.weight": e,
        f"{Q}.lora_B.weight": f,
        f"{Q}.lora_B.bias": bias,
    }
    again = merged(tmp_path, adapter(tmp_path / "a", tensors))
    wanted = theta0["embed_tokens.weight"] + 3 * (b @ a).T
    torch.testing.assert_close(again["embed_tokens.weight"], wanted)
    product = d[:, :, 0, 0] @ c.reshape(2, -1)
    wanted = theta0["conv.weight"] + 3 * product.view(5, 3, 2, 2)
    torch.testing.assert_close(again["conv.weight"], wanted)
    wanted = theta0[f"{Q}.bias"] + 3 * bias
    torch.testing.assert_close(again[f"{Q}.bias"], wanted)


def test_30_dora_turns_each_output_to_its_length(tmp_path):
    theta0 = base_at(tmp_path / "base")
    a, b = factors(6, 4)
    lengths = torch.rand(6) + 1
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    tensors[f"{Q}.lora_magnitude_vector"] = lengths
    again = merged(tmp_path, adapter(tmp_path / "a", tensors, use_dora=True))
    v = theta0[f"{Q}.weight"] + 3 * b @ a
    wanted = lengths[:, None] * v / v.norm(dim=1, keepdim=True)
    torch.testing.assert_close(again[f"{Q}.weight"], wanted)


@pytest.mark.parametrize("name", ["{}.bias", "{}.base_layer.bias"])
def test_29_what_was_trained_whole_is_a_value(tmp_path, name):
    base_at(tmp_path / "base")
    a, b = factors(6, 4)
    bias, rows = torch.randn(6), torch.randn(9, 4)
    tensors = {
        f"{Q}.lora_A.weight": a,
        f"{Q}.lora_B.weight": b,
        name.format(Q): bias,
        "embed_tokens.modules_to_save.weight": rows,
        "embed_tokens.original_module.weight": rows + 1,
        "classifier.weight": torch.ones(3, 4),
    }
    folder = adapter(tmp_path / "a", tensors, bias="lora_only")
    again = merged(tmp_path, folder, private=["classifier.*"], expand=True)
    torch.testing.assert_close(again[f"{Q}.bias"], bias)
    torch.testing.assert_close(again["embed_tokens.weight"], rows)
    own = open_checkpoint(tmp_path / "out" / "a")
    assert torch.equal(own["classifier.weight"], torch.ones(3, 4))


@pytest.mark.parametrize(
    ("tensors", "config", "line"),
    [
        ({}, {"peft_type": "IA3"}, "peft_type is IA3; of adapters only LORA is merged"),
        (
            {},
            {"init_lora_weights": "pissa_niter_4"},
            "pissa_niter_4, which changed the",
        ),
        ({}, {"layer_replication": [[0, 1]]}, "layer_replication is set, which is not"),
        ({}, {"r": 3}, f"'{Q}' has rank 2, and adapter_config.json says 3"),
        ({f"{Q}.lora_B.weight": None}, {}, "has lora_A or lora_B and not both"),
        ({f"{Q}.lora_A.weight": torch.zeros(8)}, {}, "gather the weights of all proc"),
        ({f"{Q}.lora_A.weight": torch.ones(2, 5)}, {}, "does not fit the base's '"),
        ({"no.lora_A.weight": torch.ones(2, 4)}, {}, "not both"),
    ],
)
def test_31_what_is_refused(tmp_path, tensors, config, line):
    base_at(tmp_path / "base")
    a, b = factors(6, 4)
    all_ = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b} | tensors
    kept = {name: tensor for name, tensor in all_.items() if tensor is not None}
    with pytest.raises(TadropError, match=line):
        merged(tmp_path, adapter(tmp_path / "a", kept, **config))


def test_32_an_adapter_as_the_base(tmp_path):
    base_at(tmp_path / "base")
    a, b = factors(6, 4)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    folder = adapter(tmp_path / "a", tensors)
    with pytest.raises(TadropError, match="an adapter without a base; name the model"):
        merge_checkpoints(folder, [tmp_path / "base"], tmp_path / "out")


def test_27_an_adapter_beside_a_whole_expert_and_28_of_another_base(tmp_path, capsys):
    base, experts, models = family(tmp_path, llama())
    name = "model.layers.1.self_attn.v_proj"
    a, b = factors(8, 16)
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    more = {"base_model_name_or_path": "org/other"}
    folder = adapter(tmp_path / "tuned", tensors, **more)
    out = merge_checkpoints(
        base, [folder, experts[0]], tmp_path / "out", "ties", tadrop=True, expand=True
    ).path
    said = " ".join(capsys.readouterr().err.split())
    assert "tuned: LoRA of 1 modules, scale 3" in said
    assert "tuned: trained on org/other; the base is" in said
    for place in (out, out / "tuned", out / "a"):
        loaded("AutoModelForCausalLM", place)
    # The same from the adapter written out by hand.
    theta = models["base"].state_dict()
    theta[f"{name}.weight"] = theta[f"{name}.weight"] + 3 * b @ a
    models["base"].load_state_dict(theta)
    models["base"].save_pretrained(tmp_path / "by_hand")
    words = [f"tuned={tmp_path / 'by_hand'}", experts[0]]
    other = merge_checkpoints(base, words, tmp_path / "two", "ties", tadrop=True).path
    mine, his = (load_file(one / "model.safetensors") for one in (out, other))
    for key in mine:
        torch.testing.assert_close(mine[key], his[key], rtol=0, atol=1e-6)


def test_a_bias_that_the_base_has_no_place_for(tmp_path):
    save(tmp_path / "base", {f"{Q}.weight": torch.randn(6, 4)})
    a, b = factors(6, 4)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    tensors[f"{Q}.lora_B.bias"] = torch.randn(6)
    with pytest.raises(TadropError, match="has a bias"):
        merged(tmp_path, adapter(tmp_path / "a", tensors, lora_bias=True))
