"""Surgery: what its adapters do, and that they are in effect only while attached."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from baselines import surgery
from tadrop.types import TadropError
from tests import tiny
from tests.baselines.refining import outputs, put, refine, summed


def adapted(bench, stream, **knobs):
    """The sum of task vectors, at a scale of 0.3, with adapters."""
    knobs = {"split": "test", "seed": 0} | knobs
    return refine(surgery.adapt, summed(stream), stream, bench, 0.3, **knobs)


def test_surgery_brings_features_closer_to_the_individual_models(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, rank=4, steps=300, rate=1e-2)
    for task in stream.tasks:
        put(bench, merged, task, 0.3)
        before = bench.features(task, "test")
        after = surgery.corrected(before, *merged.attachment.weights[task])
        bench.load(bench.expert(task, stream.names))
        own = bench.features(task, "test")
        assert F.l1_loss(after, own) < 0.8 * F.l1_loss(before, own)


def test_the_adapter_is_in_effect_only_while_attached(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, rank=4, steps=20)
    bare = replace(merged, attachment=None)
    inputs = bench.tasks.inputs("t1", "test")
    corrected = outputs(bench, merged, "t1", inputs, 0.3)
    plain = outputs(bench, bare, "t1", inputs, 0.3)
    assert not torch.allclose(corrected, plain)
    features = torch.tanh(bench.module.norm(bench.module.first(inputs)))
    z = bench.module.second(features)
    down, up = merged.attachment.weights["t1"]
    expected = bench.module.head(z - torch.relu(z @ down.T) @ up.T)
    torch.testing.assert_close(corrected, expected)
    adapters = 3 * 2 * 4 * tiny.WIDTH * 4
    assert merged.stored_bytes() == bare.stored_bytes() + adapters


def test_surgery_twice_gives_the_same_bits(bench):
    stream = tiny.stream(bench)
    first = adapted(bench, stream, rank=2, steps=9).attachment.weights["t2"]
    second = adapted(bench, stream, rank=2, steps=9).attachment.weights["t2"]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_model_that_does_not_name_its_head_is_told_so(bench):
    nameless = replace(bench, model=replace(bench.model, head=None))
    with pytest.raises(TadropError, match=r"model\.head"):
        adapted(nameless, tiny.stream(bench))
