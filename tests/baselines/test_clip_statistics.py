"""Fisher information and Gram matrices on CLIP, against transformers' own CLIP."""

import pytest
import torch
from torch import nn

from baselines import fisher, regmean
from tests.baselines.clip_reference import (
    BOTH,
    PAIRS,
    as_split,
    close,
    images_of,
    individual,
    made,
)


def exact_by_autograd(module, images):
    """F = mean_x sum_c p_c(x) (d log p_c(x) / d theta)^2, one gradient at a time."""
    leaves = dict(module.clip.requires_grad_().named_parameters())
    information = dict.fromkeys(leaves, 0.0)
    words = {"retain_graph": True, "allow_unused": True}
    for image in images:
        for log_p in module(image[None]).log_softmax(-1)[0]:
            gradients = torch.autograd.grad(log_p, leaves.values(), **words)
            share = log_p.exp().detach() / len(images)
            for name, gradient in zip(leaves, gradients, strict=True):
                if gradient is not None:
                    information[name] = information[name] + share * gradient**2
    return information


@pytest.mark.parametrize("packaging", BOTH)
def test_exact_fisher(clip_model, clip_hub, tmp_path, packaging):
    bench, stream = made(clip_hub, tmp_path, packaging)
    module, reference = individual(bench, clip_model, "fer2013")
    images = images_of(bench, "fer2013", count=2)
    tensors = fisher.exact(module, iter([images]), bench.slots(stream.names))
    information = as_split(tensors, packaging)
    expected = exact_by_autograd(reference, images)
    assert len(information) == 40
    attention = "vision_model.encoder.layers.0.self_attn"
    for part in ("q_proj", "k_proj", "v_proj"):
        assert float(information[f"{attention}.{part}.weight"].max()) > 0
    for name, diagonal in information.items():
        close(diagonal, expected[name])


def test_batch_squared_fisher_is_the_same_in_both_packagings(
    clip_model, clip_hub, tmp_path
):
    information = {}
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        module, _ = individual(bench, clip_model, "eurosat")
        batches = iter([images_of(bench, "eurosat")])
        tensors = fisher.batch_squared(module, batches, bench.slots(stream.names))
        information[packaging] = as_split(tensors, packaging)
    split, fused = information["split"], information["fused"]
    assert split.keys() == fused.keys()
    for name, diagonal in split.items():
        close(fused[name], diagonal, 1e-5)


def inputs_of_linear_layers(module, images):
    """What transformers' linear layers are handed, by the name of their weight."""
    inputs = {}

    def keep(weight):
        def hook(layer, args):
            inputs[weight] = args[0].reshape(-1, args[0].shape[-1])

        return hook

    for name, layer in module.clip.vision_model.named_modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(keep(f"vision_model.{name}.weight"))
    module(images)
    return inputs


@pytest.mark.parametrize("packaging", BOTH)
def test_gram_matrices(clip_model, clip_hub, tmp_path, packaging):
    bench, stream = made(clip_hub, tmp_path, packaging)
    module, reference = individual(bench, clip_model, "mnist")
    images = images_of(bench, "mnist")
    grams = regmean.gram(module, iter(images.split(2)), bench.slots(stream.names))
    inputs = inputs_of_linear_layers(reference, images)
    names = {name: name for name in inputs}
    if packaging == "fused":
        for pair in PAIRS:
            names |= dict.fromkeys(pair.split, pair.fused)
    assert set(grams) == {names[name] for name in inputs}
    for name, x in inputs.items():
        close(grams[names[name]], x.T @ x / len(x))  # by tokens
