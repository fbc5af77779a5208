"""BEiT-3's five tasks end to end on a tiny model in the official files' names, with data in the
official formats.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from PIL import Image

from tadrop.app.places import CONF, REPOSITORY
from tadrop.app.runs import build, run
from tadrop.app.verbs import vqa_answers
from tadrop.models.beit3.decoding import search
from tadrop.models.beit3.heads import Captions, head_of
from tadrop.models.beit3.model import equip
from tadrop.models.beit3.transformer import Beit3, Inputs
from tadrop.models.private import PrivateTensors
from tadrop.numerics.seeds import generator
from tadrop.results import formats, published, table
from tadrop.results.columns import headings
from tadrop.tasks.metrics import captions
from tadrop.tasks.metrics.recall import recalls
from tadrop.tasks.reading.pictures import picture
from tadrop.types import TadropError

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


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    pytest.importorskip("sentencepiece")
    root = tmp_path_factory.mktemp("hub")
    write_models(root / "models" / "beit3")
    write_data(root / "datasets" / "beit3")
    return root


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


@pytest.mark.parametrize("tadrop", ["off", "on"])
def test_all_five_run(hub, tmp_path, tadrop):
    record = run.run(configured(hub, tmp_path, "merge=emr", f"tadrop={tadrop}"))
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


def test_individual_models_are_the_experts(hub, tmp_path):
    cfg = configured(hub, tmp_path, "merge=individual", "tadrop=off")
    record, tasks = run.run(cfg), build.tasks(cfg.tasks)
    for task in ("imagenet", "vqa", "nlvr2"):
        state = torch.load(
            hub / "models" / "beit3" / Path(cfg.model.experts[task]).name,
            weights_only=True,
        )["model"]
        body = transformer(SIDES[task], 0)
        body.load_state_dict(
            {n[6:]: t for n, t in state.items() if n.startswith("beit3.")}, strict=False
        )
        head = head_of(whole(state), Captions())
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


def test_the_transformer_against_plain_arithmetic():
    """One layer, an image and a text, token by token in float64."""
    torch.manual_seed(3)
    model = Beit3(8, 1, 2, 12, 20, 16, 16, 12).double().eval()
    image, ids = (
        torch.randn(1, 3, 16, 16, dtype=torch.float64),
        torch.tensor([[0, 7, 2, -1]]),
    )
    state = {n: t.double().numpy() for n, t in model.state_dict().items()}

    def norm(x, name):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * state[
            f"{name}.weight"
        ] + state[f"{name}.bias"]

    def linear(x, name):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    patch = (state["vision_embed.proj.weight"] * image[0].numpy()).sum(
        (1, 2, 3)
    ) + state["vision_embed.proj.bias"]
    places = {way: state[f"encoder.embed_positions.{way}.weight"] for way in "AB"}
    tokens = [
        (state["vision_embed.cls_token"][0, 0] + places["A"][2], "A"),
        (patch + places["A"][3], "A"),
    ]
    tokens += [
        (state["text_embed.weight"][i] + places["B"][2 + at], "B")
        for at, i in enumerate([0, 7, 2])
    ]
    at = "encoder.layers.0."
    normed = [norm(x, f"{at}self_attn_layer_norm.{way}") for x, way in tokens]
    q, k, v = (
        [
            linear(x, f"{at}self_attn.{p}_proj.{way}")
            for x, (_, way) in zip(normed, tokens, strict=True)
        ]
        for p in "qkv"
    )
    expected = []
    for i, (x, way) in enumerate(tokens):
        mixed = []
        for head in (slice(0, 4), slice(4, 8)):
            weights = np.exp([q[i][head] @ k[j][head] / 2 for j in range(5)])
            mixed.append(
                sum(w * v[j][head] for j, w in enumerate(weights / weights.sum()))
            )
        inner = norm(np.concatenate(mixed), f"{at}self_attn.inner_attn_ln.{way}")
        x = x + linear(inner, f"{at}self_attn.out_proj.{way}")
        hidden = torch.nn.functional.gelu(
            torch.tensor(
                linear(norm(x, f"{at}final_layer_norm.{way}"), f"{at}ffn.{way}.fc1")
            )
        )
        x = x + linear(
            norm(hidden.numpy(), f"{at}ffn.{way}.ffn_layernorm"), f"{at}ffn.{way}.fc2"
        )
        expected.append(norm(x, f"encoder.layer_norm.{way}"))
    with torch.no_grad():
        found = model(image, ids, normalise=True)[0, :5]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-9)


def test_text_sees_the_past_only_and_padding_changes_nothing():
    model = transformer(32, 0).eval()
    image, ids = torch.randn(1, 3, 32, 32), torch.tensor([[0, 5, 6, 7]])
    with torch.no_grad():
        whole = model(image, ids, True, causal=True)
        torch.testing.assert_close(
            model(image, ids[:, :3], True, causal=True),
            whole[:, :-1],
            atol=1e-5,
            rtol=1e-5,
        )
        padded = model(image, torch.tensor([[0, 5, 6, 7, -1, -1]]), True)[:, :-2]
        torch.testing.assert_close(
            padded, model(image, ids, True), atol=1e-5, rtol=1e-5
        )


def test_captions_are_decoded_greedily(hub, tmp_path):
    cfg = configured(hub, tmp_path)
    module, backbone = instantiate(cfg.model.build)(), instantiate(cfg.model)
    state = backbone.open_expert("captioning").tensors
    equip(module, whole(state))
    image = torch.randn(1, 1, 3, 64, 64)
    with torch.no_grad():
        found = module(Inputs(image))[0].tolist()
        ids = [0]
        for _ in range(6):
            x = module.beit3(
                image[:, 0], torch.tensor([[*ids, 100]]), True, causal=True
            )[0, -1]
            word = int((state["mlm_head.weight"] @ x + state["mlm_head.bias"]).argmax())
            if word == 2:
                break
            ids.append(word)
    assert found == [*ids[1:], *[-1] * (6 - len(ids[1:]))]


def grammar(rows, ids):
    """Logits of five made-up words that depend on the row and on everything said before."""
    seeds = [
        int(row) * 1000 + sum((at + 1) * 7 * int(i) for at, i in enumerate(text))
        for row, text in zip(rows, ids, strict=True)
    ]
    return torch.stack(
        [
            torch.randn(5, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    )


def every_text(row, longest, penalty):
    """All texts up to the longest with their scores, by recursion; word 2 is the end."""
    found = {}

    def go(words, total):
        logs = grammar([row], [[0, *words]])[0].log_softmax(0)
        for word in range(5):
            said, score = [*words, word], total + float(logs[word])
            if word == 2 or len(said) == longest:
                found[tuple(said)] = score / len(said) ** penalty
            else:
                go(said, score)

    go([], 0.0)
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_beam_search_against_every_text_there_is(penalty):
    rows = torch.arange(4)
    wide = search(grammar, rows, 0, 2, 3, beams=200, penalty=penalty)
    narrow = search(grammar, rows, 0, 2, 3, beams=3, penalty=penalty)
    for row in range(4):
        texts = every_text(row, 3, penalty)
        best = max(texts, key=texts.get)
        assert wide[row].tolist() == [
            *[w for w in best if w != 2],
            *[-1] * (3 - len([w for w in best if w != 2])),
        ]
        said = [w for w in narrow[row].tolist() if w >= 0]
        score = texts[tuple(said) if len(said) == 3 else (*said, 2)]
        greedy = []
        while len(greedy) < 3 and 2 not in greedy:
            greedy.append(int(grammar([row], [[0, *greedy]])[0].argmax()))
        assert texts[tuple(greedy)] - 1e-6 <= score <= texts[best] + 1e-6
        alone = search(grammar, rows[row : row + 1], 0, 2, 3, beams=1, penalty=penalty)[
            0
        ].tolist()
        assert [w for w in alone if w >= 0] == [w for w in greedy if w != 2]


def test_captions_with_beams_are_at_least_as_likely(hub, tmp_path):
    backbone = instantiate(configured(hub, tmp_path).model)
    state = backbone.open_expert("captioning").tensors
    image = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = {}
    for beams in (1, 4):
        module = instantiate(
            configured(
                hub, tmp_path, f"model.build.beams={beams}", "model.build.penalty=0"
            ).model.build
        )()
        equip(module, whole(state))
        with torch.no_grad():
            words = module(Inputs(image))
            logs = []
            for at in range(2):
                ids = [0, *[w for w in words[at].tolist() if w >= 0]]
                steps = [*ids[1:], *([2] if len(ids) <= 6 else [])]
                each = [
                    module.head.next_word(
                        module.beit3, image[at], torch.tensor([ids[: i + 1]])
                    )[0]
                    for i in range(len(steps))
                ]
                logs.append(
                    sum(
                        float(e.log_softmax(0)[w])
                        for e, w in zip(each, steps, strict=True)
                    )
                )
        found[beams] = logs
    assert all(
        wide >= narrow - 1e-5 for wide, narrow in zip(found[4], found[1], strict=True)
    )
    with pytest.raises(TadropError, match=r"model\.build\.beams is 0"):
        instantiate(configured(hub, tmp_path, "model.build.beams=0").model).build()


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
    tasks = build.tasks(configured(hub, tmp_path).tasks)
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
    strict = build.tasks(configured(hub, tmp_path, "tasks.strict=true").tasks)
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
            configured(hub, tmp_path, "tasks.strict=true", *exact).tasks
        ).examples("imagenet", "test")
    lenient = build.tasks(configured(hub, tmp_path, "tasks.names=[vqa,nlvr2]").tasks)
    assert lenient.protocol().startswith(
        "beit3-1, vqa val2014, cut (vqa has 3 of 214354 val2014 rows, vqa has 4 of 3129"
    )
    right = ("tasks.sources.imagenet.classes=3", *exact)
    assert (
        build.tasks(
            configured(hub, tmp_path, "tasks.strict=true", *right).tasks
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
        match=r"pip install 'tadrop\[captions\]', or set tasks\.caption_metrics=builtin",
    ):
        captions.coco(["a"], [["a"]])


def test_errors_name_the_file_or_the_key(hub, tmp_path):
    tasks = build.tasks(configured(hub, tmp_path).tasks)
    with pytest.raises(TadropError, match="imagenet has no validation split"):
        tasks.examples("imagenet", "validation")
    with pytest.raises(
        InstantiationException, match="no multimodal task is called 'audio'"
    ):
        build.tasks(configured(hub, tmp_path, "tasks.names=[audio]").tasks)
    with pytest.raises(
        InstantiationException,
        match=r"tasks\.caption_metrics is 'spice'; it must be builtin or coco",
    ):
        build.tasks(configured(hub, tmp_path, "tasks.caption_metrics=spice").tasks)
    with pytest.raises(TadropError, match=r"train: no class folders"):
        build.tasks(
            configured(hub, tmp_path, "tasks.sources.imagenet.test=train").tasks
        ).examples("imagenet", "test")
    with pytest.raises(
        TadropError, match=r"no expert for 'nlvr2'; set model\.experts\.nlvr2"
    ):
        instantiate(
            configured(hub, tmp_path, "~model.experts.nlvr2").model
        ).open_expert("nlvr2")
    with pytest.raises(TadropError, match="image or text too large"):
        transformer(32, 0)(None, torch.zeros(1, 50, dtype=torch.long), True)


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
    write_json(
        root / "v2_OpenEnded_mscoco_test-dev2015_questions.json",
        {"questions": questions},
    )
    for i in range(3):
        draw(root / "test2015" / f"COCO_test2015_{i:012d}.jpg", 200 + i)
    cfg = configured(world, tmp_path, "merge=individual", "tadrop=off")
    monkeypatch.setattr(vqa_answers, "compose", lambda *args: cfg)
    monkeypatch.setattr(
        "sys.argv", ["vqa_answers", str(tmp_path / "out.json"), "merge=individual"]
    )
    vqa_answers.main()
    found = json.loads((tmp_path / "out.json").read_text())
    assert [entry["question_id"] for entry in found] == [10, 11, 12]
    module, backbone = instantiate(cfg.model.build)(), instantiate(cfg.model)
    state = backbone.open_expert("vqa").tensors
    equip(module, whole(state))
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
        configured(world, tmp_path, "tasks.sources.vqa.test=test-dev2015").tasks
    )
    with pytest.raises(
        TadropError,
        match=r"a server keeps these answers; tadrop vqa_answers",
    ):
        test_dev.examples("vqa", "test")


def test_the_table_has_the_papers_columns_and_its_rows_beside_ours(hub, tmp_path):
    records = [
        run.run(configured(hub, tmp_path, f"merge={row}", "tadrop=off"))
        for row in ("individual", "emr")
    ]
    facts = published.about(
        published.read(REPOSITORY / published.FOLDER), "beit3", "multimodal5"
    )
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
