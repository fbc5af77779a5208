"""Every row of the catalogue on a tiny GPT-2 and a tiny BEiT-3, plain and with TADrop, as run.py
runs it.
"""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from baselines import regmean, smile
from tadrop.app.runs import run
from tadrop.app.runs.opening import open_bench
from tadrop.evaluation import samples
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.modules import batches as inputs
from tadrop.types import TadropError
from tadrop.vectors.merged import materialise
from tests import text_hub
from tests.baselines.test_contract import ROWS, config
from tests.baselines.test_data_rows import ROWS as QUICK
from tests.models import test_beit3, test_gpt2

REFUSED = {  # rows that read data in a way that BEiT-3's tasks do not offer, and what they say
    **dict.fromkeys(
        ("fisher", "fisher_batch", "regmean", "twin"),
        "imagenet is read for evaluation only",
    ),
    **dict.fromkeys(
        (row for row in ROWS if row.startswith("adamerging")),
        "shows its model more than one tensor",
    ),
    **dict.fromkeys(
        (row for row in ROWS if row.startswith("nps")),
        "imagenet has no validation split of its own",
    ),
    "surgery": "model beit3 names no head that reads one vector an example",
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """The configuration of a run on two tasks, several batches each."""
    folder = tmp_path_factory.mktemp("gpt2")
    hub = text_hub.write(folder / "hub")
    return test_gpt2.configured(
        hub, folder, "tasks.names=[cola,mrpc]", "tasks.batch=128"
    )


@pytest.fixture(scope="module")
def beit3(tmp_path_factory):
    """The configuration of a run on two tasks: images alone, and images and texts."""
    pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("beit3")
    test_beit3.write_models(folder / "hub" / "models" / "beit3")
    test_beit3.write_data(folder / "hub" / "datasets" / "beit3")
    return test_beit3.configured(
        folder / "hub", folder, "tasks.names=[imagenet,retrieval]"
    )


def with_row(cfg, row, tadrop):
    """cfg with another row, put together from parts: composing takes Hydra longer than running."""
    own = {
        name: OmegaConf.to_container(config(row))[name]
        for name in ("merge", "sparsify")
    }
    made = OmegaConf.create(
        {**cfg, **own, "tadrop": cfg.tadrop if tadrop == "on" else None}
    )
    return OmegaConf.merge(made, OmegaConf.from_dotlist(QUICK.get(row, [])))


def cases(quick):
    """Every row, off and on; what is not quick is slow."""
    return [
        pytest.param(row, tadrop, marks=[] if quick(row, tadrop) else pytest.mark.slow)
        for row in ROWS
        for tadrop in ("off", "on")
    ]


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
    """The first block's Gram matrices of texts of unlike length, against each text alone in
    transformers' module.
    """
    bench, _ = open_bench(OmegaConf.to_container(gpt2, resolve=True))
    batch = next(samples.first(bench.tasks, "cola", "train", 8, 8))
    assert (batch < 0).any()
    names = [f"transformer.h.0.{name}.weight" for name in ("attn.c_attn", "mlp.c_fc")]
    found = regmean.gram(bench.module, iter([batch]), bench.slots(names))
    block, expected = bench.module.transformer.h[0], dict.fromkeys(names, 0)
    for row in batch:
        ids = row[row >= 0]
        with torch.no_grad():
            x = (
                bench.module.transformer.wte(ids)
                + bench.module.transformer.wpe.weight[: len(ids)]
            )
            into_attention = block.ln_1(x)
            into_mlp = block.ln_2(x + block.attn(into_attention[None])[0][0])
        for name, x in zip(names, (into_attention, into_mlp), strict=True):
            expected[name] = expected[name] + x.T @ x / 8
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)


def test_smile_of_one_task_is_its_expert_in_every_conv1d_layer(gpt2):
    """With all triplets kept, experts are one task's linear layers; attn.c_proj is square, its
    shape tells nothing.
    """
    cfg = OmegaConf.merge(gpt2, {"tasks": {"names": ["cola"]}})
    bench, stream = open_bench(OmegaConf.to_container(cfg, resolve=True))
    zero = Method(merge=lambda taus: torch.zeros_like(taus[:1]))
    build = partial(smile.build, keep=1.0, gate=1, active=1)
    merged = build(merge(stream, zero), stream, bench, 1.0, lambda: None)
    batch = next(bench.tasks.batches("cola", "test"))[0]
    bench.equip("cola")
    bench.load(materialise(bench.base, merged, "cola", 1.0))
    with torch.no_grad(), merged.attached(bench.module, "cola"):
        found = bench.module(batch)
    linear = [n for n in stream.names if ".c_" in n]
    assert len(linear) == 2 * 4 * 2
    bench.load((n, bench.experts["cola"][n]) for n in linear)
    with torch.no_grad():
        expected = bench.module(batch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    bench.load((n, bench.base[n]) for n in linear)
    with torch.no_grad():
        assert (bench.module(batch) - expected).abs().max() > 1e-2


def test_token_ids_are_padded_trimmed_and_parted():
    ragged = [torch.tensor([[5, 6, 7]]), torch.tensor([[1, -1], [2, 3]])]
    joined = inputs.join(ragged)
    assert joined.tolist() == [[5, 6, 7], [1, -1, -1], [2, 3, -1]]
    assert inputs.take(joined, slice(1, None)).tolist() == [[1, -1], [2, 3]]
    assert [part.tolist() for part in inputs.unpadded(joined)] == [
        [[1]],
        [[2, 3]],
        [[5, 6, 7]],
    ]
    images = torch.full((2, 3, 4, 4), -1.0)
    assert inputs.take(images, slice(2)).equal(images)
    assert next(inputs.unpadded(images)) is images
