"""A BEiT-3 of two layers in the official files' names, with data in the official formats."""

import json
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from tadrop.app.places import CONF
from tadrop.models.beit3.transformer import Beit3
from tadrop.models.private import PrivateTensors
from tadrop.numerics.seeds import generator

WIDTH, DEPTH, WORDS, ANSWERS = 16, 2, 120, 4
SIDES = {"imagenet": 32, "retrieval": 48, "captioning": 64, "nlvr2": 32, "vqa": 64}
SENTENCES = [
    "a red cat sits on a mat",
    "two dogs run in the park",
    "the old man eats an apple",
    "a boat on the lake",
]


def whole(state):
    """All of a task's tensors, merged ones too, as if they were its own."""
    return PrivateTensors(Path("expert.pth"), state, ["*"])


def transformer(side, seed):
    torch.manual_seed(seed)
    return Beit3(WIDTH, DEPTH, 2, 32, WORDS, 16, side, 40)


def official(model, heads, drop=()):
    """A state dict as the official files have it."""
    state = {
        f"beit3.{n}": t
        for n, t in model.state_dict().items()
        if not any(word in n for word in drop)
    }
    return {"model": state | heads}


def heads_of(task):
    g = torch.Generator().manual_seed(1)

    def linear(name, out, into, bias=True):
        made = {f"{name}.weight": torch.randn(out, into, generator=g)}
        return made | ({f"{name}.bias": torch.randn(out, generator=g)} if bias else {})

    def norm(name, size):
        return {f"{name}.weight": torch.ones(size), f"{name}.bias": torch.zeros(size)}

    w = WIDTH
    return {
        "imagenet": lambda: norm("fc_norm", w) | linear("head", 3, w),
        "vqa": lambda: (
            norm("pooler.norm", w)
            | linear("pooler.dense", w, w)
            | linear("head.0", 2 * w, w)
            | norm("head.1", 2 * w)
            | linear("head.3", ANSWERS, 2 * w)
        ),
        "nlvr2": lambda: (
            norm("head.norm1", 4 * w)
            | linear("head.dense1", 2 * w, 4 * w)
            | norm("head.norm2", 2 * w)
            | linear("head.dense2", 2, 2 * w)
        ),
        "retrieval": lambda: (
            linear("vision_head", w, w, False)
            | linear("language_head", w, w, False)
            | {"logit_scale": torch.tensor(2.6)}
        ),
        "captioning": lambda: linear("mlm_head", WORDS, w),
    }[task]()


def write_models(folder):
    folder.mkdir(parents=True)
    base = transformer(32, 0)
    torch.save(official(base, {}), folder / "beit3_base_patch16_224.pth")
    names = {
        "imagenet": "224_in1k",
        "retrieval": "384_coco_retrieval",
        "captioning": "480_coco_captioning",
        "nlvr2": "224_nlvr2",
        "vqa": "480_vqa",
    }
    for seed, (task, name) in enumerate(names.items(), start=1):
        expert, noise = (
            transformer(SIDES[task], seed),
            transformer(SIDES[task], 100 + seed),
        )
        for (n, parameter), other in zip(
            expert.named_parameters(), noise.parameters(), strict=True
        ):
            origin = base.get_parameter(n)
            if origin.shape == parameter.shape:
                parameter.data = origin + 0.1 * (other - parameter)
        vision_only = (
            ("text_embed", ".B.", "encoder.layer_norm") if task == "imagenet" else ()
        )
        drop = ("encoder.layer_norm",) if task == "vqa" else vision_only
        torch.save(
            official(expert, heads_of(task), drop),
            folder / f"beit3_base_patch16_{name}.pth",
        )
    write_spm(folder / "beit3.spm")


def write_spm(file):
    from sentencepiece import SentencePieceTrainer

    text = iter(
        [
            *SENTENCES,
            "is it true that this is red",
            "yes no blue three left right both images show",
        ]
        * 20
    )
    SentencePieceTrainer.train(
        sentence_iterator=text,
        model_prefix=str(file.with_suffix("")),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file.with_suffix(".model").rename(file)


def draw(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = generator("tests", "image", seed).integers(
        0, 256, (20, 30, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(file)


def write_json(file, value, lines=False):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, value)) if lines else json.dumps(value))


def write_data(folder):
    for i, name in enumerate(["n01", "n02", "n03"]):
        for j in range(2):
            draw(folder / "imagenet" / "val" / name / f"{j}.JPEG", 10 * i + j)
    images = []
    for i, sentence in enumerate(SENTENCES):
        draw(folder / "coco" / "val2014" / f"{i}.jpg", i)
        entry = {
            "filepath": "val2014",
            "filename": f"{i}.jpg",
            "split": "test",
            "cocoid": i,
        }
        images.append(
            entry | {"sentences": [{"raw": sentence}, {"raw": sentence + " here"}]}
        )
    write_json(folder / "coco" / "dataset_coco.json", {"images": images})
    pairs = []
    for i in range(4):
        identifier = f"test1-{i}-0-0"
        for side in (0, 1):
            draw(
                folder / "nlvr2" / "test1" / f"test1-{i}-0-img{side}.png",
                50 + 2 * i + side,
            )
        pairs.append(
            {
                "identifier": identifier,
                "sentence": "both images show a cat",
                "label": str(i % 2 == 0),
            }
        )
    write_json(folder / "nlvr2" / "data" / "test1.json", pairs, lines=True)
    questions, annotations = [], []
    for i in range(3):
        draw(folder / "vqav2" / "val2014" / f"COCO_val2014_{i:012d}.jpg", 80 + i)
        questions.append({"question_id": i, "image_id": i, "question": "is it red"})
        given = ["yes"] * (7 - i) + ["no"] * (2 + i) + ["maybe"]
        annotations.append(
            {"question_id": i, "answers": [{"answer": a} for a in given]}
        )
    write_json(
        folder / "vqav2" / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"questions": questions},
    )
    write_json(
        folder / "vqav2" / "v2_mscoco_val2014_annotations.json",
        {"annotations": annotations},
    )
    labels = [
        {"answer": a, "label": i} for i, a in enumerate(["yes", "no", "blue", "three"])
    ]
    write_json(folder / "vqav2" / "answer2label.txt", labels, lines=True)


SMALL = (
    *(f"tasks.sources.{task}.side={side}" for task, side in SIDES.items()),
    f"+model.build.width={WIDTH}",
    f"+model.build.depth={DEPTH}",
    "+model.build.hidden=32",
    f"+model.build.vocabulary={WORDS}",
    "+model.build.side=32",
    "+model.build.positions=40",
    "+model.build.mask=100",
    "model.build.heads=2",
    "+model.build.longest=6",
)


def configured(hub, tmp_path, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        places = [
            f"paths.hub={hub}",
            f"paths.records={tmp_path}/records",
            f"paths.cache={tmp_path}/cache",
        ]
        words = [
            "model=beit3",
            *places,
            *SMALL,
            "device=cpu",
            "tasks.strict=false",
        ]
        return compose("config", [*words, *overrides])
