"""BEiT-3's transformer against plain arithmetic, and its captions against every text."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from tadrop.models.beit3.decoding import search
from tadrop.models.beit3.model import equip
from tadrop.models.beit3.transformer import Beit3, Inputs
from tadrop.types import TadropError
from tests import tiny_beit3 as tiny


@pytest.fixture
def hub(beit3_hub):
    return beit3_hub


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
    model = tiny.transformer(32, 0).eval()
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
    cfg = tiny.configured(hub, tmp_path)
    module, backbone = instantiate(cfg.model.build)(), instantiate(cfg.model)
    state = backbone.open_expert("captioning").tensors
    equip(module, tiny.whole(state))
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
    backbone = instantiate(tiny.configured(hub, tmp_path).model)
    state = backbone.open_expert("captioning").tensors
    image = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = {}
    for beams in (1, 4):
        module = instantiate(
            tiny.configured(
                hub, tmp_path, f"model.build.beams={beams}", "model.build.penalty=0"
            ).model.build
        )()
        equip(module, tiny.whole(state))
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
        instantiate(tiny.configured(hub, tmp_path, "model.build.beams=0").model).build()
