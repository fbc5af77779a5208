"""The five multimodal tasks: their data in the official formats, and their metrics."""

import shutil
import sys

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from tadrop.app.runs import build
from tadrop.tasks.metrics import captions
from tadrop.tasks.metrics.recall import recalls
from tadrop.types import TadropError
from tests import tiny_beit3 as tiny


@pytest.fixture
def hub(beit3_hub):
    return beit3_hub


def test_recalls_by_hand():
    """Two images with two texts each: the second image's texts are nearest to the first image."""
    vectors = torch.tensor(
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    )
    is_text = torch.tensor([False, False, True, True, True, True])
    found = recalls(vectors, is_text, torch.tensor([0, 1, 0, 0, 1, 1]))
    assert {k: found[k] for k in ("TR@1", "IR@1")} == {"TR@1": 1.0, "IR@1": 0.5}
    assert found["IR@5"] == found["TR@10"] == 1.0
    assert found["mean recall"] == pytest.approx((1 + 1 + 1 + 0.5 + 1 + 1) / 6)


def test_vqa_scores_are_the_official_ones(hub, tmp_path):
    """The mean over all ways to leave one of the ten people out of min(1, how many of the others
    gave it / 3).
    """
    tasks = build.tasks(tiny.configured(hub, tmp_path).tasks)
    for example, (yes, no) in zip(
        tasks.examples("vqa", "test"), [(7, 2), (6, 3), (5, 4)], strict=True
    ):
        for answer, count in ((0, yes), (1, no), (2, 0)):
            left_out = [min(1, (count - (person < count)) / 3) for person in range(10)]
            assert float(example.target.dense()[answer]) == pytest.approx(
                np.mean(left_out)
            )


def test_data_that_are_not_the_official_ones_are_refused_unless_asked_for(
    hub, tmp_path
):
    strict = build.tasks(tiny.configured(hub, tmp_path, "tasks.strict=true").tasks)
    for task, fact in (
        ("nlvr2", "nlvr2 has 4 of 6967 test1 rows"),
        ("vqa", "vqa has 3 of 214354 val2014 rows"),
        ("imagenet", "imagenet has 6 of 50000 val rows"),
    ):
        with pytest.raises(TadropError, match=rf"{fact}.*tasks\.strict=false"):
            strict.examples(task, "test")
    exact = ("tasks.sources.imagenet.rows.val=6", "tasks.names=[imagenet]")
    with pytest.raises(TadropError, match="imagenet has 3 of 1000 classes"):
        build.tasks(
            tiny.configured(hub, tmp_path, "tasks.strict=true", *exact).tasks
        ).examples("imagenet", "test")
    lenient = build.tasks(
        tiny.configured(hub, tmp_path, "tasks.names=[vqa,nlvr2]").tasks
    )
    assert lenient.protocol().startswith(
        "beit3-1, vqa val2014, cut (vqa has 3 of 214354 val2014 rows, vqa has 4 of 3129"
    )
    right = ("tasks.sources.imagenet.classes=3", *exact)
    assert (
        build.tasks(
            tiny.configured(hub, tmp_path, "tasks.strict=true", *right).tasks
        ).protocol()
        == "beit3-1"
    )


def test_caption_metrics_by_hand():
    candidate, reference = captions.words("a b c d e"), captions.words("a b c d f")
    assert captions.bleu([candidate], [[reference]]) == pytest.approx(
        (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )
    assert captions.bleu([candidate[:4]], [[reference]]) == pytest.approx(
        np.exp(1 - 5 / 4)
    )
    assert captions.common(list("abcbdab"), list("bdcaba")) == 4
    assert captions.rouge([candidate], [[reference]]) == pytest.approx(0.8)
    p, r = 4 / 4, 4 / 5
    assert captions.rouge([candidate[:4]], [[reference]]) == pytest.approx(
        (1 + 1.44) * p * r / (r + 1.44 * p)
    )
    texts = [captions.words(t) for t in ("one two three four", "five six seven eight")]
    assert captions.cider(texts, [[texts[0]], [texts[1]]]) == pytest.approx(10)
    assert captions.cider(texts[::-1], [[texts[0]], [texts[1]]]) == 0
    half = [captions.words("one two three four"), captions.words("one two nine ten")]
    wanted = [[half[0]], [captions.words("five six seven eight")]]
    assert captions.cider(half, wanted) == pytest.approx(5)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_caption_metrics_are_those_of_the_coco_evaluation():
    """Sentences that both tokenizers cut alike; METEOR, which is theirs alone, is 1 for a perfect
    caption.
    """
    pytest.importorskip("pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("no Java")
    wanted = [
        ["a red cat sits on a mat", "one cat on the red mat"],
        ["two dogs run in the park", "dogs in a park"],
    ]
    wanted += [
        ["a boat on a calm lake"],
        ["an old man eats an apple", "the man eats a red apple at home"],
    ]
    said = [
        "a red cat on a mat",
        "two dogs sit in a big park",
        "a boat on a calm lake",
        "the old man eats a red apple",
    ]
    theirs, ours = captions.coco(said, wanted), captions.measure(said, wanted)
    assert list(theirs) == ["CIDEr", "BLEU-4", "METEOR", "ROUGE-L"]
    assert {name: theirs[name] for name in ours} == pytest.approx(dict(ours), abs=1e-6)
    assert 0 < theirs["METEOR"] < 1
    assert captions.coco(said[2:3] * 2, wanted[2:3] * 2)["METEOR"] == pytest.approx(1.0)


def test_what_the_coco_evaluation_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(
        TadropError,
        match=r"pip install -e '\.\[captions\]', or set tasks\.caption_metrics=builtin",
    ):
        captions.coco(["a"], [["a"]])


def test_errors_name_the_file_or_the_key(hub, tmp_path):
    tasks = build.tasks(tiny.configured(hub, tmp_path).tasks)
    with pytest.raises(TadropError, match="imagenet has no validation split"):
        tasks.examples("imagenet", "validation")
    with pytest.raises(
        InstantiationException, match="no multimodal task is called 'audio'"
    ):
        build.tasks(tiny.configured(hub, tmp_path, "tasks.names=[audio]").tasks)
    with pytest.raises(
        InstantiationException,
        match=r"tasks\.caption_metrics is 'spice'; it must be builtin or coco",
    ):
        build.tasks(tiny.configured(hub, tmp_path, "tasks.caption_metrics=spice").tasks)
    with pytest.raises(TadropError, match=r"train: no class folders"):
        build.tasks(
            tiny.configured(hub, tmp_path, "tasks.sources.imagenet.test=train").tasks
        ).examples("imagenet", "test")
    with pytest.raises(
        TadropError, match=r"no expert for 'nlvr2'; set model\.experts\.nlvr2"
    ):
        instantiate(
            tiny.configured(hub, tmp_path, "~model.experts.nlvr2").model
        ).open_expert("nlvr2")
    with pytest.raises(TadropError, match="image or text too large"):
        tiny.transformer(32, 0)(None, torch.zeros(1, 50, dtype=torch.long), True)
