"""What is seen of a module's matrix products."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tadrop.modules.slots import locate
from tadrop.modules.taps import tapped


def own(module):
    """Every parameter under its own name."""
    return locate(module, dict(module.named_parameters()))


def test_taps_see_every_product_and_can_amend_it():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    x, seen = torch.randn(5, 3), []

    def visit(product, output):
        seen.append(
            (product.weight, product.bias, product.inputs.shape[-1], product.transposed)
        )
        return output + 1

    before = F.linear
    with torch.no_grad(), tapped(module, own(module), visit):
        found = module(x)
    assert F.linear is before
    assert seen == [("0.weight", "0.bias", 3, False), ("2.weight", None, 4, False)]
    torch.testing.assert_close(
        found, torch.relu(module[0](x) + 1) @ module[2].weight.T + 1
    )


def test_taps_see_torchs_own_attention():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    seen = {}

    def visit(product, output):
        seen[product.weight] = (tuple(product.inputs.shape[-1:]), product.transposed)
        return output

    x = torch.randn(2, 3, 8)
    with torch.inference_mode():
        plain = attention(x, x, x, need_weights=False)[0]
        with tapped(attention, own(attention), visit):
            watched = attention(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(plain, watched)
    assert seen == {"in_proj_weight": ((8,), False), "out_proj.weight": ((8,), False)}


@pytest.mark.slow
def test_taps_see_gpt2s_conv1d():
    from transformers.pytorch_utils import Conv1D

    seen = {}

    def visit(product, output):
        seen[product.weight] = (
            product.inputs.shape[-1],
            output.shape[-1],
            product.transposed,
        )
        return output

    conv = Conv1D(6, 4)
    with torch.no_grad(), tapped(conv, own(conv), visit):
        conv(torch.randn(2, 3, 4))
    assert seen == {"weight": (4, 6, True)}
