"""Zero-shot heads: prompts without padding, heads cached by content, bars."""

import shutil

import open_clip
import pytest
import torch

from tadrop.models.clip import zeroshot
from tadrop.models.clip.architecture import configuration
from tadrop.storage import bars
from tadrop.tasks.reading.registry import registry
from tests import tiny_clip as tiny


def text_tower(config):
    """A model of random weights whose vision tower is next to nothing."""
    torch.manual_seed(0)
    thin = {"layers": 1, "width": 64, "head_width": 64}
    small = {**config, "vision_cfg": {**config["vision_cfg"], **thin}}
    return open_clip.model.CLIP(**small).eval().requires_grad_(False)


@pytest.mark.parametrize(
    "name", ["tiny", pytest.param("ViT-B-32-quickgelu", marks=pytest.mark.slow)]
)
def test_prompts_without_padding_make_the_same_heads(name):
    """As open_clip encodes them at its full context, on real prompts."""
    config = tiny.CONFIG if name == "tiny" else configuration(name)
    model = text_tower(config)
    tokenize = open_clip.SimpleTokenizer(context_length=77)
    prompts = []
    for task in ("stanford-cars", "resisc45", "mnist"):
        entry = registry("vision")[task]
        prompts += zeroshot.prompts_of(entry["classes"][:4], entry["templates"][:4])
    prompts += ["!", "a !!! b", "word " * 90]
    tokens = tokenize(prompts)
    whole = model.encode_text(tokens, normalize=True)
    for part in (slice(0, 8), slice(8, -1), slice(-1, None), slice(None)):
        shorter = zeroshot.embed(model, tokens[part])
        assert (shorter - whole[part]).abs().max() < 1e-6
    assert model.positional_embedding.shape[0] == 77
    assert model.attn_mask.shape == (77, 77)


def test_padding_is_not_computed(monkeypatch):
    model = text_tower(tiny.CONFIG)
    lengths = []
    encode = model.encode_text

    def watched(tokens, normalize):
        lengths.append(tokens.shape[1])
        return encode(tokens, normalize=normalize)

    monkeypatch.setattr(model, "encode_text", watched)
    classes = ["cat", "dog"]
    zeroshot.encode(model, tiny.CONFIG, classes, ["a photo of a {}."])
    assert lengths == [8]  # <start> a photo of a cat . <end>
    model.attn_mask = None  # attention looks at the padding, too
    zeroshot.encode(model, tiny.CONFIG, classes, ["a photo of a {}."])
    assert lengths == [8, 77]


def test_heads_are_cached_by_content(clip_hub, tmp_path, monkeypatch):
    """Another place of the same base finds them; another base does not."""
    from tests.models.test_clip import opened

    first = opened(clip_hub, tmp_path, "tasks.names=[mnist]").head("mnist")
    moved = tmp_path / "elsewhere"
    shutil.copytree(clip_hub, moved)
    calls = []
    encode = zeroshot.encode

    def counted(*words):
        calls.append(words)
        return encode(*words)

    monkeypatch.setattr(zeroshot, "encode", counted)
    again = opened(moved, tmp_path, "tasks.names=[mnist]").head("mnist")
    assert torch.equal(first, again)
    assert not calls
    tiny.write_base(moved, tiny.hf_clip(seed=1))
    other = opened(moved, tmp_path, "tasks.names=[mnist]").head("mnist")
    assert len(calls) == 1
    assert not torch.equal(first, other)


class Watched(bars.Silent):
    """Bars that count their steps."""

    def __init__(self):
        self.steps = {}

    def bar(self, name, steps):
        self.steps[name] = [0, steps]

        def tick():
            self.steps[name][0] += 1

        return tick


def test_building_a_head_has_a_bar(monkeypatch):
    monkeypatch.setattr(zeroshot, "BATCH", 3)
    watched = Watched()
    token = bars.current.set(watched)
    try:
        model = text_tower(tiny.CONFIG)
        names = list("abcdefgh")
        zeroshot.encode(model, tiny.CONFIG, names, ["a {}."])
    finally:
        bars.current.reset(token)
    assert watched.steps == {"head": [3, 3]}
