"""Methods that refine a merge, as the evaluator runs them."""

import pytest
import torch

from baselines import adamerging, smile, surgery, twin
from tadrop.evaluation.bench import evaluate
from tests import tiny
from tests.baselines.refining import outputs, refine, summed, untouched

TEST = {"split": "test", "seed": 0, "steps": 3}
TRAIN = {"split": "train", "seed": 0, "epochs": 2, "size": 16}


def refined(name, stream, bench):
    """A refined merge and its scale."""
    if name == "adamerging":
        words = TEST | {"wise": "layer", "size": 8}
        return refine(adamerging.adapt, untouched(stream), stream, bench, **words), 1.0
    if name == "surgery":
        words = TEST | {"rank": 2}
        return refine(surgery.adapt, summed(stream), stream, bench, 0.3, **words), 0.3
    if name == "smile":
        return refine(smile.build, untouched(stream), stream, bench, keep=0.5), 1.0
    return refine(twin.build, summed(stream), stream, bench, 0.29, **TRAIN), 0.29


@pytest.mark.parametrize("name", ["adamerging", "surgery", "smile", "twin"])
def test_the_evaluator_needs_no_special_case(bench, name):
    merged, scale = refined(name, tiny.stream(bench), bench)
    scores = evaluate(bench, merged, scale, "test")
    for score in scores:
        targets = torch.cat([y for _, y in bench.tasks.batches(score.task, "test")])
        inputs = bench.tasks.inputs(score.task, "test")
        answers = outputs(bench, merged, score.task, inputs, scale)
        accuracy = (answers.argmax(1) == targets).double().mean()
        assert score.value == pytest.approx(float(accuracy))
    again = evaluate(bench, merged, scale, "test")
    assert [score.value for score in again] == [score.value for score in scores]


def test_a_base_that_nothing_was_added_to_is_not_stored(bench):
    stream = tiny.stream(bench)
    assert untouched(stream).stored_bytes() == 0
    merged = refine(smile.build, untouched(stream), stream, bench, keep=0.5)
    assert merged.stored_bytes() == merged.attachment.stored_bytes() > 0
