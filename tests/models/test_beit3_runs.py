"""BEiT-3's five tasks end to end, from files to records, tables and answers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from tadrop.app.runs import build, run
from tadrop.app.verbs import vqa_answers
from tadrop.models.beit3.heads import Captions, head_of
from tadrop.models.beit3.model import equip
from tadrop.models.beit3.transformer import Inputs
from tadrop.results import formats, published, table
from tadrop.results.columns import headings
from tadrop.tasks.reading.pictures import picture
from tadrop.types import TadropError
from tests import tiny_beit3 as tiny


@pytest.fixture
def hub(beit3_hub):
    return beit3_hub


@pytest.mark.parametrize("tadrop", ["off", "on"])
def test_all_five_run(hub, tmp_path, tadrop):
    record = run.run(tiny.configured(hub, tmp_path, "merge=emr", f"tadrop={tadrop}"))
    scores = {s["task"]: s for s in record["scores"]}
    assert {t: (s["metric"], s["count"]) for t, s in scores.items()} == {
        "retrieval": ("mean recall", 12),
        "captioning": ("CIDEr", 4),
        "imagenet": ("accuracy", 6),
        "vqa": ("VQA accuracy", 3),
        "nlvr2": ("accuracy", 4),
    }
    assert set(scores["retrieval"]["details"]) == {
        f"{d}@{k}" for d in ("TR", "IR") for k in (1, 5, 10)
    }
    assert set(scores["captioning"]["details"]) == {"BLEU-4", "ROUGE-L"}
    private = set(record["private"])
    assert {
        "beit3.encoder.embed_positions.A.weight",
        "beit3.text_embed.weight",
    } <= private
    assert "beit3.encoder.layers.0.ffn.B.fc1.weight" in private
    assert "beit3.encoder.layers.0.ffn.A.fc1.weight" not in private


def test_a_limit_leaves_retrieval_images_with_all_their_texts(hub, tmp_path):
    """The first so many lines would be images alone, and no text to look for."""
    words = ("merge=average", "tadrop=off", "limit=2", "tasks.names=[retrieval,nlvr2]")
    cfg = tiny.configured(hub, tmp_path, *words)
    tasks = build.tasks(cfg.tasks)
    targets = [example.target for example in tasks.examples("retrieval", "test")]
    whole = replace(tasks, limit=None).examples("retrieval", "test")
    assert targets == [one.target for one in whole if one.target[1] < 2]
    assert {kind for kind, _ in targets} == {0, 1}
    scores = {score["task"]: score for score in run.run(cfg)["scores"]}
    assert scores["retrieval"]["count"] == len(targets)
    assert scores["nlvr2"]["count"] == 2


def test_individual_models_are_the_experts(hub, tmp_path):
    cfg = tiny.configured(hub, tmp_path, "merge=individual", "tadrop=off")
    record, tasks = run.run(cfg), build.tasks(cfg.tasks)
    for task in ("imagenet", "vqa", "nlvr2"):
        state = torch.load(
            hub / "models" / "beit3" / Path(cfg.model.experts[task]).name,
            weights_only=True,
        )["model"]
        body = tiny.transformer(tiny.SIDES[task], 0)
        body.load_state_dict(
            {n[6:]: t for n, t in state.items() if n.startswith("beit3.")}, strict=False
        )
        head = head_of(tiny.whole(state), Captions())
        with torch.no_grad():
            outputs = [
                (head(body, inputs), targets)
                for inputs, targets in tasks.batches(task, "test")
            ]
        if task == "vqa":
            expected = np.mean(
                [t[i, o[i].argmax()] for o, t in outputs for i in range(len(o))]
            )
        else:
            expected = np.mean(
                [
                    int(o[i].argmax()) == int(t[i])
                    for o, t in outputs
                    for i in range(len(o))
                ]
            )
        assert next(
            s["value"] for s in record["scores"] if s["task"] == task
        ) == pytest.approx(float(expected))


def test_answers_for_the_vqa_server(hub, tmp_path, monkeypatch, capsys):
    """The individual model's answers to made-up test-dev questions, in the official format, against
    its own module.
    """
    world = tmp_path / "hub"
    shutil.copytree(hub, world)
    root = world / "datasets" / "beit3" / "vqav2"
    questions = [
        {"question_id": 10 + i, "image_id": i, "question": "is it red"}
        for i in range(3)
    ]
    tiny.write_json(
        root / "v2_OpenEnded_mscoco_test-dev2015_questions.json",
        {"questions": questions},
    )
    for i in range(3):
        tiny.draw(root / "test2015" / f"COCO_test2015_{i:012d}.jpg", 200 + i)
    cfg = tiny.configured(world, tmp_path, "merge=individual", "tadrop=off")
    monkeypatch.setattr(vqa_answers, "composed", lambda *args: cfg)
    monkeypatch.setattr(
        "sys.argv", ["vqa_answers", str(tmp_path / "out.json"), "merge=individual"]
    )
    vqa_answers.main()
    found = json.loads((tmp_path / "out.json").read_text())
    assert [entry["question_id"] for entry in found] == [10, 11, 12]
    module, backbone = instantiate(cfg.model.build)(), instantiate(cfg.model)
    state = backbone.open_expert("vqa").tensors
    equip(module, tiny.whole(state))
    module.beit3.load_state_dict(
        {n[6:]: t for n, t in state.items() if n.startswith("beit3.")}, strict=False
    )
    tasks, words = build.tasks(cfg.tasks), ["yes", "no", "blue", "three"]
    for entry, image in zip(found, sorted((root / "test2015").iterdir()), strict=True):
        inputs = Inputs(
            picture(image, 64, False)[None, None],
            tasks.pieces.encode(["is it red"], 64),
        )
        with torch.no_grad():
            assert entry == {
                "question_id": entry["question_id"],
                "answer": words[int(module(inputs).argmax())],
            }
    test_dev = build.tasks(
        tiny.configured(world, tmp_path, "tasks.sources.vqa.test=test-dev2015").tasks
    )
    with pytest.raises(
        TadropError,
        match=r"a server keeps these answers; tadrop vqa_answers",
    ):
        test_dev.examples("vqa", "test")


def test_the_table_has_the_papers_columns_and_its_rows_beside_ours(hub, tmp_path):
    records = [
        run.run(tiny.configured(hub, tmp_path, f"merge={row}", "tadrop=off"))
        for row in ("individual", "emr")
    ]
    facts = published.about(published.read(published.FOLDER), "beit3", "multimodal5")
    made = published.beside(table.build(records), facts)
    captioning = ("captioning", "captioning BLEU-4", "captioning ROUGE-L")
    retrieval = [f"retrieval {way}@{k}" for way in ("TR", "IR") for k in (1, 5, 10)]
    assert made.columns == (
        "retrieval",
        *retrieval,
        *captioning,
        "imagenet",
        "vqa",
        "nlvr2",
    )
    ours = next(row for row in made.rows if formats.label(row) == "EMR")
    scores = {s["task"]: s for s in records[1]["scores"]}
    assert (
        ours.values["captioning BLEU-4"]
        == 100 * scores["captioning"]["details"]["BLEU-4"]
    )
    assert ours.average == pytest.approx(
        np.mean([100 * s["value"] for s in scores.values()])
    )
    row = next(row for row in made.rows if "published: EMR" in formats.label(row))
    theirs = dict(zip(headings(made), formats.texts(made, row), strict=True))
    assert (
        theirs["captioning BLEU-4"],
        theirs["captioning"],
        theirs["captioning ROUGE-L"],
    ) == (
        "28.9",
        "106.0",
        "53.4",
    )
    assert theirs["retrieval TR@1"] == ""
    assert formats.csv(made).startswith("method,retrieval,retrieval TR@1")
