"""TADrop in the library: one call on a tensor, in place."""

from pathlib import Path

import torch

from tadrop import tadrop_

ROOT = Path(__file__).parents[2]


def test_tadrop_in_place_is_the_rule_and_its_defaults_are_the_configuration():
    from omegaconf import OmegaConf

    on = OmegaConf.load(ROOT / "conf" / "tadrop" / "on.yaml")
    tau = torch.randn(400, 300, generator=torch.Generator().manual_seed(1))
    v = tau.abs().double().flatten()
    ratio = float(torch.quantile(v, on.q_lo) / torch.quantile(v, on.q_hi))
    kept = tau.numel() - int(ratio * tau.numel())
    expected = torch.where(
        v >= torch.sort(v, descending=True).values[kept - 1], tau.double().flatten(), 0
    )
    expected *= tau.double().norm(p=int(on.norm[1])) / expected.norm(p=int(on.norm[1]))
    result = tau.clone()
    assert tadrop_(result) is result
    torch.testing.assert_close(result.double().flatten(), expected, rtol=1e-6, atol=0)
    half = tau.bfloat16()
    expected = tadrop_(half.float()).bfloat16()
    assert torch.equal(tadrop_(half), expected)
