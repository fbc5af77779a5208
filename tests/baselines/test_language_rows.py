"""Every row on a tiny GPT-2 and a tiny BEiT-3, plain and with TADrop, as runs go."""

from itertools import product

import pytest
import torch
from omegaconf import OmegaConf

from baselines import regmean, smile
from tadrop.app.runs import run
from tadrop.app.runs.opening import open_bench
from tadrop.evaluation import samples
from tadrop.modules import batches as inputs
from tadrop.types import TadropError
from tests import text_hub, tiny_beit3
from tests.baselines.refining import outputs, refine, untouched
from tests.baselines.test_contract import ROWS, config
from tests.baselines.test_data_rows import ROWS as QUICK
from tests.models import test_gpt2

# What rows say that read data in a way that BEiT-3's tasks do not offer, by the
# beginning of their names.
REFUSALS = {
    "fisher": "imagenet is read for evaluation only",
    "regmean": "imagenet is read for evaluation only",
    "twin": "imagenet is read for evaluation only",
    "adamerging": "shows its model more than one tensor",
    "compress_nps": "imagenet has no validation split of its own",
    "nps": "imagenet has no validation split of its own",
    "surgery": "model beit3 names no head that reads one vector an example",
}
REFUSED = {}
for family, message in REFUSALS.items():
    REFUSED |= {row: message for row in ROWS if row.startswith(family)}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """The configuration of a run on two tasks, several batches each."""
    folder = tmp_path_factory.mktemp("gpt2")
    hub = text_hub.write(folder / "hub")
    words = ("tasks.names=[cola,mrpc]", "tasks.batch=128")
    return test_gpt2.configured(hub, folder, *words)


@pytest.fixture(scope="module")
def beit3(beit3_hub, tmp_path_factory):
    """The configuration of a run on two tasks: images alone, and images and texts."""
    folder, word = tmp_path_factory.mktemp("beit3"), "tasks.names=[imagenet,retrieval]"
    return tiny_beit3.configured(beit3_hub, folder, word)


def with_row(cfg, row, tadrop):
    """cfg with another row, put together from parts.

    Hydra takes longer to compose it than the program to run it.
    """
    own = OmegaConf.to_container(config(row))
    nodes = {
        "merge": own["merge"],
        "sparsify": own["sparsify"],
        "tadrop": cfg.tadrop if tadrop == "on" else None,
    }
    quick = OmegaConf.from_dotlist(QUICK.get(row, []))
    return OmegaConf.merge(OmegaConf.create({**cfg, **nodes}), quick)


def cases(quick):
    """Every row, off and on; what is not quick is slow."""
    params = []
    for row, tadrop in product(ROWS, ("off", "on")):
        marks = () if quick(row, tadrop) else pytest.mark.slow
        params.append(pytest.param(row, tadrop, marks=marks))
    return params


@pytest.mark.parametrize(("row", "tadrop"), cases(lambda row, tadrop: tadrop == "on"))
def test_gpt2_runs(gpt2, row, tadrop):
    record = run.run(with_row(gpt2, row, tadrop))
    assert record["config"]["merge"]["name"] == row
    assert [s["count"] for s in record["scores"]] == [12, 12]


@pytest.mark.parametrize(
    ("row", "tadrop"),
    cases(lambda row, tadrop: tadrop == "on" and row in (*REFUSED, "emr")),
)
def test_beit3_runs_or_says_why_not(beit3, row, tadrop):
    cfg = with_row(beit3, row, tadrop)
    if row in REFUSED:
        with pytest.raises(TadropError, match=REFUSED[row]) as info:
            run.run(cfg)
        assert "\n" not in str(info.value)
        return
    assert [s["count"] for s in run.run(cfg)["scores"]] == [6, 12]


def test_regmean_sees_no_padding_and_conv1d_inputs_as_they_are(gpt2):
    """The first block's Gram matrices of texts of unlike length.

    They are compared with each text alone in transformers' module.
    """
    bench, _ = open_bench(OmegaConf.to_container(gpt2, resolve=True))
    batch = next(samples.first(bench.tasks, "cola", "train", 8, 8))
    assert (batch < 0).any()
    names = [f"transformer.h.0.{name}.weight" for name in ("attn.c_attn", "mlp.c_fc")]
    grams = regmean.gram(bench.module, iter([batch]), bench.slots(names))
    transformer, expected = bench.module.transformer, dict.fromkeys(names, 0)
    block = transformer.h[0]
    for row in batch:
        ids = row[row >= 0]
        with torch.no_grad():
            x = transformer.wte(ids) + transformer.wpe.weight[: len(ids)]
            into_attention = block.ln_1(x)
            into_mlp = block.ln_2(x + block.attn(into_attention[None])[0][0])
        for name, x in zip(names, (into_attention, into_mlp), strict=True):
            expected[name] = expected[name] + x.T @ x / (batch >= 0).sum()
    for name in names:
        torch.testing.assert_close(grams[name], expected[name], atol=1e-4, rtol=1e-4)


def test_smile_of_one_task_is_its_expert_in_every_conv1d_layer(gpt2):
    """With all triplets kept, experts are one task's linear layers.

    The shape of attn.c_proj, which is square, does not tell how it lies.
    """
    cfg = OmegaConf.merge(gpt2, {"tasks": {"names": ["cola"]}})
    bench, stream = open_bench(OmegaConf.to_container(cfg, resolve=True))
    knobs = {"keep": 1.0, "gate": 1, "active": 1}
    merged = refine(smile.build, untouched(stream), stream, bench, **knobs)
    batch, _ = next(bench.tasks.batches("cola", "test"))
    answers = outputs(bench, merged, "cola", batch)
    linear = [n for n in stream.names if ".c_" in n]
    assert len(linear) == 2 * 4 * 2
    bench.load((n, bench.experts["cola"][n]) for n in linear)
    with torch.no_grad():
        expected = bench.module(batch)
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)
    bench.load((n, bench.base[n]) for n in linear)
    with torch.no_grad():
        assert (bench.module(batch) - expected).abs().max() > 1e-2


def test_token_ids_are_padded_trimmed_and_parted():
    ragged = [torch.tensor([[5, 6, 7]]), torch.tensor([[1, -1], [2, 3]])]
    joined = inputs.join(ragged)
    assert joined.tolist() == [[5, 6, 7], [1, -1, -1], [2, 3, -1]]
    assert inputs.take(joined, slice(1, None)).tolist() == [[1, -1], [2, 3]]
    parts = [part.tolist() for part in inputs.unpadded(joined)]
    assert parts == [[[1]], [[2, 3]], [[5, 6, 7]]]
    images = torch.full((2, 3, 4, 4), -1.0)
    assert inputs.take(images, slice(2)).equal(images)
    assert next(inputs.unpadded(images)) is images
