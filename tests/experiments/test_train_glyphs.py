"""The command that trains the embedded checkpoints, made small."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from experiments import train_glyphs
from experiments.glyphs import base, finetuning
from experiments.glyphs.recipe import BATCH, BaseRecipe, TaskRecipe
from tadrop.numerics.seeds import generator
from tadrop.tasks import glyphs
from tadrop.tasks.drawing.families import FAMILIES, NAMES
from tadrop.tasks.drawing.rendering import CLASSES, UNSEEN

SMALL = BaseRecipe(steps=2, images=2_000)
SHORT = TaskRecipe(steps=3, rate=2.0, temperature=1.0, rehearsed=0)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch):
    """One look of the base, and few images of every split."""
    monkeypatch.setattr(base, "BACKGROUNDS", ("flat",))
    monkeypatch.setattr(base, "NOISES", (5,))
    monkeypatch.setattr(glyphs, "SPLITS", dict.fromkeys(glyphs.SPLITS, BATCH))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glyphs") / "base.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(base, "BACKGROUNDS", ("flat",))
        patched.setattr(base, "NOISES", (5,))
        base.train_base(path, SMALL, 0)
    return path


def test_the_base_knows_every_task_s_characters_and_more():
    known = base.alphabet()
    assert len(known) == len(set(known))
    for task in NAMES:
        assert set(glyphs.classes(task)) <= set(known)
    everything = sum(len(family.chars) for family in FAMILIES.values())
    assert len(known) > everything


def test_tasks_are_ten_characters_spread_over_their_family():
    for task in NAMES:
        assert len(set(glyphs.classes(task))) == CLASSES
    assert "".join(glyphs.classes("latin_upper")) == "ACFHKNPSUX"
    assert "".join(glyphs.classes("digits")) == "0123456789"


def test_every_character_is_drawn_about_equally_often(monkeypatch):
    monkeypatch.setattr(base, "BACKGROUNDS", ("flat", "ramp"))
    pictures, labels = base.images(8_400, generator("test"))
    assert len(pictures) == len(labels)
    counts = np.bincount(labels, minlength=len(base.alphabet()))
    assert len(pictures) == pytest.approx(8_400, rel=0.02)
    assert counts.min() >= 4
    assert counts.max() <= 8


def test_the_base_never_sees_the_faces_that_are_held_out(monkeypatch):
    seen: set[str] = set()

    def noted(chars: str, face: str, anchor: str = "glyph"):
        seen.add(face)
        return real(chars, face, anchor)

    real = base.render.__globals__["masters"]
    monkeypatch.setitem(base.render.__globals__, "masters", noted)
    base.render(FAMILIES["latin_upper"], np.arange(26), "train", generator("test"))
    assert seen
    assert not seen & set(UNSEEN)


def test_heads_are_the_classifier_s_rows(trained: Path):
    whole = load_file(trained)
    model = finetuning.started(trained, "greek_lower")
    rows = [base.alphabet().index(char) for char in glyphs.classes("greek_lower")]
    assert torch.equal(model.head.weight, whole["head.weight"][rows].float())
    assert torch.equal(model.head.bias, whole["head.bias"][rows].float())
    assert torch.equal(model.norm.weight, whole["norm.weight"].float())


def test_fine_tuning_moves_what_is_not_frozen(trained: Path, tmp_path: Path):
    path = tmp_path / "braille.safetensors"
    name, value, _ = finetuning.train_task(trained, path, "braille", SHORT, 0)
    assert name == "braille"
    assert 0 <= value <= 1
    before, after = load_file(trained), load_file(path)
    assert after.keys() == before.keys()
    for tensor in after:
        if tensor.startswith("head"):
            assert len(after[tensor]) == CLASSES
        else:
            same = torch.equal(after[tensor], before[tensor])
            assert same == tensor.startswith(SHORT.frozen), tensor


def test_a_seed_says_which_models_come_out(trained: Path, tmp_path: Path):
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        path = tmp_path / name
        finetuning.train_task(trained, path, "hebrew", SHORT, seed)
        return load_file(path)

    first, again, other = weights("a", 0), weights("b", 0), weights("c", 1)
    moved = "blocks.0.fc1.weight"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first[moved], other[moved])


def losses(trained: Path, recipe: TaskRecipe) -> list[float]:
    model = finetuning.started(trained, "hebrew")
    with torch.inference_mode():
        found = list(finetuning.losses(model, trained, "hebrew", recipe, 0))
    return [float(loss) for loss in found]


def test_the_temperature_divides_the_logits(trained: Path):
    model = finetuning.started(trained, "hebrew")
    model.head.weight.data /= 4
    model.head.bias.data /= 4
    pictures, labels = glyphs.generate("hebrew", "train")
    with torch.inference_mode():
        logits = model(finetuning.tensors(pictures))
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    found = losses(trained, TaskRecipe(steps=1, temperature=4.0, rehearsed=0))
    assert found == [pytest.approx(float(expected), rel=1e-5)]


def test_rehearsal_adds_the_base_s_own_loss(trained: Path, monkeypatch):
    monkeypatch.setattr(finetuning, "REHEARSAL", 2_000)
    finetuning.rehearsal.cache_clear()
    (plain,) = losses(trained, TaskRecipe(steps=1, rehearsed=0))
    (both,) = losses(trained, TaskRecipe(steps=1, rehearsed=64))
    finetuning.rehearsal.cache_clear()
    rehearsed = (both - plain * BATCH / (BATCH + 64)) * (BATCH + 64) / 64
    # The base has hardly learnt: it gives every character about the same chance.
    assert rehearsed == pytest.approx(np.log(len(base.alphabet())), abs=0.5)


def test_the_command_keeps_what_is_there_and_says_what_it_made(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    class Here:
        """Runs jobs in this process."""

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, work, *arguments):
            from concurrent.futures import Future

            future: Future = Future()
            future.set_result(work(*arguments))
            return future

    monkeypatch.setattr(train_glyphs, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(train_glyphs, "BaseRecipe", lambda: SMALL)
    monkeypatch.setattr(train_glyphs, "TaskRecipe", lambda: SHORT)
    command = ["train_glyphs", "--out", str(tmp_path), "--tasks", "arabic", "math"]
    monkeypatch.setattr(sys, "argv", command)
    (tmp_path / "base.safetensors").write_bytes(trained.read_bytes())
    train_glyphs.main()
    made = (tmp_path / "math.safetensors").stat()
    assert "| arabic | " in (tmp_path / "README.md").read_text()
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3
    train_glyphs.main()
    assert (tmp_path / "math.safetensors").stat().st_mtime_ns == made.st_mtime_ns
    assert "math: validation" in capsys.readouterr().out
