"""Merges measured, compared, unpacked and searched, on tiny models and a tiny text."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tadrop.app.judging import comparing
from tadrop.app.judging.measuring import Measured, measure
from tadrop.app.verbs.checkpoints import compare, merge, tune_merge, unpack
from tadrop.storage.atomic import hidden
from tadrop.storage.checkpoint import open_checkpoint, sha256
from tests.checkpoints.tiny_models import VIT, edit, family, llama, loaded

TEXT = "the cat sat on the mat and the dog ate the cat " * 12
WORDS = sorted({*TEXT.split()})


def speaking(folder):
    """Writes a tokenizer of whole words into a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))


@pytest.fixture
def world(tmp_path, monkeypatch):
    family(tmp_path, llama())
    for name in ("base", "a", "b"):
        speaking(tmp_path / name)
    (tmp_path / "data.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_perplexity_is_the_mean_over_blocks(world):
    found = measure(Path("base"), Path("data.txt"), Path("base"), 3)
    model = loaded("AutoModelForCausalLM", "base").eval()
    tokens = torch.tensor([1 + WORDS.index(word) for word in TEXT.split()])
    values = []
    for block in tokens.split(32)[:3]:
        logits = model(block[None]).logits[0, :-1].log_softmax(-1)
        values.append(logits.gather(1, block[1:, None]).mean().item())
    np.testing.assert_allclose(found.values, values, rtol=1e-4)
    assert found.shown() == f"{math.exp(-np.mean(values)):.3f}"


def test_compare_shows_all_models_and_intervals(world, capsys):
    merge.main(["base", "a", "b", "-m", "average", "-o", "out"])
    capsys.readouterr()
    compare.main(["out", "base", "a", "b", "--data", "data.txt"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("perplexity (lower is better), 5 examples")
    assert [line.split()[0] for line in lines[2:]] == ["merge", "base", "a", "b"]
    assert all(" % [" in line for line in lines[3:])
    with pytest.raises(SystemExit, match=r"none\.txt: no such text file, or folder of"):
        compare.main(["out", "base", "--data", "none.txt"])
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[lm-eval\]'"):
        compare.main(["out", "base", "--tasks", "arc_easy"])


def test_unpack_writes_what_expand_writes(world):
    merge.main(["base", "a", "b", "-m", "emr", "--tadrop", "-o", "packed"])
    merge.main(["base", "a", "b", "-m", "emr", "--tadrop", "--expand", "-o", "whole"])
    unpack.main(["packed", "b", "-o", "one"])
    mine, theirs = open_checkpoint("one"), open_checkpoint("whole/b")
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name in mine.tensors:
        assert torch.equal(mine[name], theirs[name]), name
    loaded("AutoModelForCausalLM", "one")
    with pytest.raises(SystemExit, match="has no task 'c'; it has a, b"):
        unpack.main(["packed", "c", "-o", "two"])
    with pytest.raises(SystemExit, match="every task has weights of its own here"):
        compare.main(["packed", "base", "--data", "data.txt"])


@pytest.mark.parametrize("place", ["shared", "base", "a", "b", "shared/b", "."])
def test_unpack_touches_nothing_that_it_reads(world, place):
    """Not the merge, whose other tasks would be lost, and not what it was made of."""
    merge.main(["base", "a", "b", "-m", "emr", "-o", "shared"])
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    with pytest.raises(SystemExit) as stopped:
        unpack.main(["shared", "b", "-o", place, "--overwrite"])
    assert str(stopped.value.code).startswith("error: ")
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before


def test_accuracy_on_images_by_class(tmp_path, monkeypatch):
    import transformers

    monkeypatch.chdir(tmp_path)
    labels = {"label2id": {"red": 0, "blue": 1}, "id2label": {0: "red", 1: "blue"}}
    config = transformers.ViTConfig(**VIT, **labels)
    model = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    model.save_pretrained("model")
    size = {"height": 16, "width": 16}
    processor = {"image_processor_type": "ViTImageProcessor", "size": size}
    Path("model/preprocessor_config.json").write_text(json.dumps(processor))
    for name, count in (("red", 3), ("blue", 1)):
        Path("images", name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (20, 20), name).save(f"images/{name}/{number}.png")
    found = measure(Path("model"), Path("images"), Path("model"), 100)
    assert sorted(found.values) == [0, 1, 1, 1]
    assert found.shown() == "75.00"


def test_tune_merge_goes_on_and_writes_the_best(world, capsys):
    pytest.importorskip("optuna")
    words = [
        "base",
        "a",
        "b",
        "--data",
        "data.txt",
        "--methods",
        "average,ties",
        "-o",
        "best",
    ]
    tune_merge.main([*words, "--trials", "2"])
    first = capsys.readouterr()
    assert "2/2  " in first.err
    assert first.out.count("wrote best (full") == 1
    tune_merge.main([*words, "--trials", "3", "--overwrite"])
    again = capsys.readouterr()
    assert "2 of 3 trials were done before" in again.err
    assert "3/3  " in again.err
    assert "2/3" not in again.err
    shown = float(again.out.splitlines()[1].split()[0])
    best = measure(Path("best"), Path("data.txt"), Path("best"), 100)
    assert math.exp(-best.score) == pytest.approx(shown, abs=6e-4)
    with pytest.raises(SystemExit, match="holds a study of other models"):
        tune_merge.main([*words, "--limit", "2", "--overwrite"])


SEARCH = ["../base", "../a", "../b", "--data", "../data.txt", "-o", "../best"]


def test_a_search_goes_on_from_another_folder_and_its_recipe_gives_the_same_bits(
    world, capsys, monkeypatch
):
    pytest.importorskip("optuna")
    short = [word.removeprefix("../") for word in SEARCH]
    tune_merge.main([*short, "--methods", "ties,dare_ties", "--trials", "2"])
    # A trial that was stopped left its folder and counts for nothing.
    left = hidden.hidden_name(Path("best.study", "trial"), hidden.NEW)
    Path("best.study", f"{left}0").mkdir()
    Path("away").mkdir()
    monkeypatch.chdir("away")
    more = ["--methods", "ties, dare_ties", "--trials", "3", "--overwrite"]
    tune_merge.main([*SEARCH, *more])
    assert "2 of 3 trials were done before" in capsys.readouterr().err
    assert sorted(file.name for file in Path("../best.study").iterdir()) == [
        "study.journal"
    ]
    merge.main(["--recipe", "../best", "-o", "again"])
    assert sha256(Path("again/model.safetensors")) == sha256(
        Path("../best/model.safetensors")
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--trials 0", "--trials 0: it is 1 at least"),
        ("--limit 0", "--limit 0: it is 1 at least"),
        ("--methods ties,tiess", "--methods tiess: there is no such method; did you"),
        ("--methods ties,ties", "--methods: ties is named twice"),
        ("--methods ties,", "--methods ties,: names with a comma between: A,B"),
        ("--methods slerp", "--methods slerp merges 2 models"),
        ("--methods fisher", "--methods fisher looks at data or at the model"),
        ("--data no.txt", "no.txt: no such text file, or folder of images by class"),
        ("-o a", "a: is a, which is read for this merge; choose another -o"),
        ("-o taken", "taken: "),
    ],
)
def test_a_search_is_refused_before_its_first_trial(world, words, line):
    Path("taken").mkdir()
    Path("taken", "mine").touch()
    usual = ["base", "a", "--data", "data.txt", "-o", "best"]
    with pytest.raises(SystemExit) as stopped:
        tune_merge.main([*usual, *words.split()])
    assert stopped.value.code.startswith(f"error: {line}")
    assert not Path("best.study").exists()


def lora(folder):
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def headless(folder):
    shutil.copytree("base", folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def without(folder, name):
    shutil.copytree("base", folder)
    (folder / name).unlink()
    if name.startswith("tok"):
        (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("make", "words", "line"),
    [
        (None, "no base", "no: there is no such folder; OUT of a merge is one"),
        (None, "base no", "no: there is no such file or folder, and it is no hub id"),
        (None, "base a --limit 0", "--limit 0: it is 1 at least"),
        (
            lambda: without(Path("x"), "tokenizer.json"),
            "x base",
            "x: has no tokenizer; copy its base's into it (tokenizer.json), or merge "
            "with --tokenizer NAME",
        ),
        (
            lambda: without(Path("x"), "config.json"),
            "base x",
            "x: has no config.json; copy its base's into it, or leave the folder out",
        ),
        (
            lambda: lora(Path("x")),
            "base x",
            "x: is a LoRA folder; make a whole model of it first: tadrop merge BASE x "
            "-o FOLDER",
        ),
        (
            lambda: headless(Path("x")),
            "base x",
            "x: is no whole language model: it has no lm_head.weight",
        ),
        (
            None,
            "base a/model.safetensors",
            "a/model.safetensors: is a file; name its folder, with config.json beside "
            "the weights",
        ),
        (
            lambda: edit(Path("a/config.json"), model_type="vit"),
            "base a",
            "a: cannot be loaded as language model (model_type vit): Unrecognized "
            "configuration class",
        ),
        (
            lambda: Path("data.txt").write_text("cat"),
            "base a",
            "data.txt: the tokenizer of base makes 1 tokens of it, and two are the "
            "fewest that have a perplexity",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(world, make, words, line):
    if make is not None:
        make()
    with pytest.raises(SystemExit) as stopped:
        compare.main([*words.split(), "--data", "data.txt"])
    told = stopped.value.code
    assert told.startswith(f"error: {line}")
    assert "\n" not in told
    assert "huggingface.co" not in told


def test_the_table_fits_whatever_names_are(world, capsys):
    found = {"merge": Measured("perplexity", np.array([-1.0, -2.0]))}
    found["name-" * 9] = Measured("perplexity", np.array([-3.0, -7.0]))
    lines = comparing.table(found, 80)
    assert max(map(len, lines)) <= 80
    assert lines[3].startswith("  ...")
    single = {name: Measured("accuracy", np.array([1.0])) for name in ("merge", "a")}
    assert comparing.table(single, 80) == [
        "accuracy (higher is better), 1 example, too few for intervals",
        "  model           accuracy   the merge against it (95 %)",
        "  merge             100.00",
        "  a                 100.00",
    ]


def test_without_optuna_one_line_says_so(world, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[optuna\]'"):
        tune_merge.main(["base", "a", "--data", "data.txt", "-o", "best"])
