"""What tests of methods that look at data share: merges, and outputs by the definition."""

import torch

from baselines import reference, task_arithmetic
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.models.weights import install
from tadrop.vectors.merged import materialise


def untouched(stream):
    """The base, as a merge."""
    return merge(stream, Method(reference.pretrained))


def summed(stream):
    """The sum of the task vectors."""
    return merge(stream, Method(task_arithmetic.merge))


def refine(build, merged, stream, bench, scale=1.0, **knobs):
    """What a `refine` function makes of a merge."""
    return build(merged, stream, bench, scale, lambda: None, **knobs)


def put(bench, merged, task, scale=1.0):
    """Puts a merge's weights for a task into the module, as the evaluator does."""
    weights = materialise(bench.base, merged, task, scale)
    install(bench.model.slots(bench.module), weights)


def outputs(bench, merged, task, inputs, scale=1.0):
    """What the evaluator would see."""
    put(bench, merged, task, scale)
    bench.equip(task)
    with torch.inference_mode(), merged.attached(bench.module, task):
        return bench.module(inputs)


def own_outputs(bench, task, inputs):
    """What the individual model says."""
    bench.load(bench.expert(task, bench.base.tensors))
    bench.equip(task)
    with torch.inference_mode():
        return bench.module(inputs)
