"""`tadrop merge` as it is typed, recipes, and what a dry run says."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tadrop.app.terminal import stopping
from tadrop.app.verbs.checkpoints.merge import main
from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints import family, save, weights

SHAPES = {"layers.0.w.weight": (8, 6), "layers.1.w.weight": (8, 6), "n.weight": (6,)}


@pytest.fixture
def world(tmp_path, monkeypatch):
    family(tmp_path, 2, shapes=SHAPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merge(line):
    main(line.split() if isinstance(line, str) else line)


def refused(line, match, capsys, code=1):
    with pytest.raises(SystemExit) as stopped:
        merge(line)
    said = f"{stopped.value} {capsys.readouterr().err}"
    assert match in " ".join(said.split())
    if code == 2:
        assert stopped.value.code == 2


def tensors(folder):
    return load_file(Path(folder) / "model.safetensors")


def same(one, other):
    one, other = tensors(one), tensors(other)
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_average_is_the_mean(world, capsys):
    merge("base a b --method average -o out")
    assert "wrote out (full" in capsys.readouterr().out
    a, b, out = (tensors(name) for name in ("a", "b", "out"))
    for name in SHAPES:
        torch.testing.assert_close(out[name], (a[name] + b[name]) / 2)


def test_tadrop_is_on_only_when_asked_for(world):
    from tadrop.app.schema.composing import composed
    from tadrop.app.schema.values import resolved
    from tadrop.results import identity

    merge("base a b -m ties -o plain")
    merge("base a b -m ties --tadrop -o dropped")
    assert not same("plain", "dropped")
    words = ["model=local", "model.base=base", "model.experts=[a,b]", "merge=ties"]
    assert identity.tadrop(resolved(composed(words))) is None
    on = resolved(composed([*words, "tadrop=on"]))
    assert identity.tadrop(on)["q_lo"] == 0.8


def test_a_knob_goes_by_its_last_word(world, capsys):
    merge("base a b -m ties -o short --set keep=0.5")
    merge("base a b -m ties -o whole --set sparsify.keep=0.5")
    merge("base a b -m ties -o usual")
    assert same("short", "whole")
    assert not same("short", "usual")
    merge("base a b -m ties -o sum --set combine=sum")  # its compiled twin too
    assert not same("sum", "usual")
    refused("base a b -m ties -o no --set kep=0.5", "no setting is called kep", capsys)
    refused("base a b -m ties -o no --set scale=x", "scale", capsys)


def test_weights_as_they_are_typed(world, capsys):
    merge("base a b -m task_arithmetic --scale 1 --weight 0.25,2 -o one")
    merge("base a b -m task_arithmetic --scale 1 --weight b=2,a=0.25 -o two")
    assert same("one", "two")
    merge("base a b -m task_arithmetic --scale 1 --weight 0:1,1 -o three")
    base, a, b, out = (tensors(name) for name in ("base", "a", "b", "three"))
    name = "layers.0.w.weight"
    torch.testing.assert_close(out[name], b[name], rtol=0, atol=1e-6)
    name = "layers.1.w.weight"
    wanted = a[name] + b[name] - base[name]
    torch.testing.assert_close(out[name], wanted, rtol=0, atol=1e-6)
    line = "--weight 1,2,3: 3 values for 2 experts (a, b)"
    refused("base a b --weight 1,2,3 -o no", line, capsys)
    refused("base a b --weight x -o no", "--weight: 'x' is no number", capsys)


def test_rules_from_a_file(world):
    rules = {"weight": {"a": [{"tensors": "layers.*", "value": 2}]}}
    Path("rules.yaml").write_text(yaml.safe_dump(rules))
    merge("base a -m task_arithmetic --scale 1 --rules rules.yaml -o out")
    base, a, out = (tensors(name) for name in ("base", "a", "out"))
    for name, weight in (("layers.0.w.weight", 2), ("n.weight", 1)):
        wanted = base[name] + weight * (a[name] - base[name])
        torch.testing.assert_close(out[name], wanted, rtol=0, atol=1e-6)


def test_the_recipe_in_out_makes_the_same_bits(world, capsys):
    words = "base a b -m dare --seed 3 --scale 0.7 --dtype bf16 -o deep/out"
    merge([*words.split(), "--private", "n.*", "--expand"])
    recipe = Path("deep/out/tadrop.yaml")
    assert "/work" not in recipe.read_text()
    assert yaml.safe_load(recipe.read_text())["base"] == "../../base"
    merge(f"--recipe {recipe} -o else/out")
    one, other = Path("deep/out"), Path("else/out")
    for file in ("model.safetensors", "a/model.safetensors", "tadrop.json"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert str(world) not in (one / "tadrop.json").read_text()
    Path("bad.yaml").write_text("experts: [a]\nmethod: ties\nbse: x\n")
    line = "bad.yaml:3: a recipe has no 'bse'; did you mean base?"
    refused("--recipe bad.yaml -o no", line, capsys)


def test_verify_reads_back_and_compares(world, capsys, monkeypatch):
    for method in ("ties", "emr", "dare"):
        merge(f"base a b -m {method} --verify -o {method}")
        assert "3 tensors read back, equal bit for bit" in capsys.readouterr().out
    from tadrop.app.merging import running

    whole = running.run

    def damaged(request, *others):
        written = whole(request, *others)
        state = tensors(written.path)
        state["n.weight"][0] += 1
        save_file(state, written.path / "model.safetensors")
        return written

    monkeypatch.setattr(running, "run", damaged)
    line = "1 tensors are not what the inputs give (n.weight)"
    refused("base a b -m ties --verify -o broken", line, capsys)


def test_a_dry_run_writes_nothing_and_says_all(world, capsys):
    Path("base/config.json").write_text("{}")
    merge("base a b -m tsv_m -o out --dry-run")
    said = capsys.readouterr().out
    assert not Path("out").exists()
    for text in (
        "tensors: 3 merged, 1 of the base, 0 each expert's own",
        "matrices: 2 linear",
        "1 file each",
        "copied beside the weights: config.json",
        "memory about",
        "nothing was written to out",
    ):
        assert text in said
    refused("base a b -m tsvm -o out --dry-run", "no such method", capsys)


def test_shards_of_a_size(world):
    merge("base a -m average -o out --shard-size 200B")
    names = sorted(file.name for file in Path("out").glob("*.safetensors"))
    assert len(names) == 4  # one a tensor, integers too
    assert set(open_checkpoint("out").tensors) == set(tensors("base"))


def test_wrong_arguments_end_with_two(world, capsys):
    refused("base a", "say where to write: -o OUT", capsys, 2)
    refused("base -o out", "name a BASE and at least one EXPERT", capsys, 2)
    refused("base a --recipe x.yaml -o out", "--recipe names the models", capsys, 2)
    refused("base nope -o out", "nope: there is no such file or folder", capsys)


def test_the_list_says_what_each_needs(capsys):
    merge("--list")
    lines = {
        line.split()[0]: line
        for line in capsys.readouterr().out.splitlines()[2:]
        if line
    }
    assert lines["average"].split()[1] == "w"
    assert lines["ties"].split()[1:3] == ["base", "w"]
    assert lines["slerp"].split()[1:3] == ["t", "2"]
    assert max(map(len, lines.values())) <= 80


MODELS = [
    {"model": "a", "parameters": {"weight": 1}},
    {"model": "b", "parameters": {"weight": 3}},
]


def mergekit(**content):
    Path("kit.yml").write_text(
        yaml.safe_dump({"models": MODELS, "dtype": "float32", **content})
    )
    return "--recipe kit.yml -o out"


def test_mergekits_linear_and_task_arithmetic(world):
    base, a, b = (tensors(name) for name in ("base", "a", "b"))
    merge(mergekit(merge_method="linear"))
    for name in SHAPES:
        wanted = (a[name] + 3 * b[name]) / 4
        torch.testing.assert_close(tensors("out")[name], wanted, rtol=0, atol=1e-6)
    words = mergekit(
        merge_method="task_arithmetic", base_model="base", parameters={"lambda": 0.5}
    )
    merge(words.replace("out", "two"))
    for name in SHAPES:
        delta = a[name] - base[name] + 3 * (b[name] - base[name])
        wanted = base[name] + 0.5 * delta
        torch.testing.assert_close(tensors("two")[name], wanted, rtol=0, atol=1e-6)


def test_mergekits_ties_trims_each_tensor(world):
    base = tensors("base")
    merge(mergekit(merge_method="ties", base_model="base", parameters={"density": 0.5}))
    for name in SHAPES:
        kept = []
        for folder, weight in (("a", 1), ("b", 3)):
            tau = (tensors(folder)[name] - base[name]).flatten()
            index = tau.abs().topk(max(int(0.5 * len(tau)), 1)).indices
            kept.append(torch.zeros_like(tau).index_copy(0, index, weight * tau[index]))
        stacked = torch.stack(kept)
        sign = torch.where(stacked.sum(0) >= 0, 1, -1)
        agree = stacked * sign > 0
        divisor = (agree * torch.tensor([[1.0], [3.0]])).sum(0)
        delta = (stacked * agree).sum(0) / torch.where(divisor == 0, 1, divisor)
        wanted = base[name] + delta.view(base[name].shape)
        torch.testing.assert_close(tensors("out")[name], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"merge_method": "dare_ties"},
            "merge_method dare_ties sums where the paper's",
        ),
        ({"merge_method": "nuslerp"}, "merge_method nuslerp has no row here"),
        ({"merge_method": "linear", "slices": [1]}, "slices is not mapped"),
        (
            {"merge_method": "linear", "parameters": {"x": 1}},
            "linear takes no parameter 'x'",
        ),
        (
            {
                "merge_method": "task_arithmetic",
                "base_model": "base",
                "parameters": {"normalize": True},
            },
            "task_arithmetic with normalize: True has no row here; normalize: False has",
        ),
        ({"merge_method": "ties"}, "ties needs base_model"),
    ],
)
def test_what_mergekit_means_otherwise_is_refused(world, capsys, content, line):
    refused(mergekit(**content), line, capsys)


def tokenizer(folder, tokens, added=()):
    entries = [{"id": number, "content": token} for token, number in added]
    content = {"model": {"vocab": tokens}, "added_tokens": entries}
    Path(folder, "tokenizer.json").write_text(json.dumps(content))


def test_vocabularies_go_by_token(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    states = {}
    for number, (name, rows) in enumerate((("base", 4), ("a", 5), ("b", 4))):
        shapes = {"model.embed_tokens.weight": (rows, 3), "lm_head.weight": (rows, 3)}
        states[name] = weights(number, shapes=shapes | {"norm.weight": (3,)})
        save(tmp_path / name, states[name])
        Path(name, "config.json").write_text(json.dumps({"vocab_size": rows}))
    tokenizer("base", {"x": 0, "y": 1, "z": 2})  # its fourth row only pads
    tokenizer("a", {"x": 0, "z": 1, "y": 2, "new": 3}, [("<t>", 4)])
    tokenizer("b", {"x": 0, "y": 1, "z": 2})
    line = "a: 5 tokens against 3, unlike: '<t>', 'new', 'y'); choose"
    refused("base a b -m average -o out", line, capsys)
    merge("base a b -m average -o out --tokenizer union")
    rows = tensors("out")["model.embed_tokens.weight"]
    assert rows.shape == (5, 3)
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == 5
    one, other = states["a"], states["b"]
    name = "model.embed_tokens.weight"
    a, b = one[name], other[name]
    wanted = torch.stack(
        [(a[0] + b[0]) / 2, (a[2] + b[1]) / 2, (a[1] + b[2]) / 2, a[3], a[4]]
    )
    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-6)
    content = json.loads(Path("out/tokenizer.json").read_text())
    added = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
    assert added == {"new": 3, "<t>": 4}
    merge("base a b -m average -o small --tokenizer base")
    rows = tensors("small")[name]
    torch.testing.assert_close(rows[:3], wanted[:3], rtol=0, atol=1e-6)
    assert torch.equal(rows[3], states["base"][name][3])
    merge("base a b -m average -o theirs --tokenizer a")
    rows = tensors("theirs")[name]
    torch.testing.assert_close(rows[[0, 2, 1, 3, 4]], wanted, rtol=0, atol=1e-6)
    assert (
        Path("theirs/tokenizer.json").read_bytes()
        == Path("a/tokenizer.json").read_bytes()
    )
    refused("base a b -o no --tokenizer c", "it is base, union, or one of a, b", capsys)


def test_messages_speak_the_words_of_this_command(world, capsys):
    merge("base a b -m average -o out")
    refused("base a b -m average -o out", "another -o or add --overwrite", capsys)


def test_a_wrong_method_is_told_before_anything_is_looked_at(world, capsys):
    merge("base a b -m average -o out")
    said = (
        "--method averag: there is no such method; did you mean average? "
        "tadrop merge --list lists all"
    )
    refused("base nowhere b -m averag -o out", said, capsys)


def test_the_card_names_experts_apart_and_has_the_sparsity_of_each_tensor(world):
    for run in ("run1", "run2"):
        save(world / run / "ckpt", tensors("a" if run == "run1" else "b"))
    merge("base run1/ckpt run2/ckpt -m ties --tadrop -o out")
    card = (world / "out" / "README.md").read_text(encoding="utf-8")
    assert "A merge of run1-ckpt, run2-ckpt onto base by `ties`" in card
    note = json.loads((world / "out" / "tadrop.json").read_text(encoding="utf-8"))
    shares = note["sparsity"]["layers.0.w.weight"]
    assert f"| {shares['run1-ckpt']:.3f} | {shares['run2-ckpt']:.3f} |" in card
    zeros = 1 - note["density"]
    sizes = {"layers.0.w.weight": 48, "layers.1.w.weight": 48, "n.weight": 6}
    cut = sum(sum(note["sparsity"][name].values()) * n for name, n in sizes.items())
    assert cut / 2 / sum(sizes.values()) == pytest.approx(zeros, abs=1e-4)


def test_a_recipe_names_experts_however_their_folders_are_called(world):
    for name, odd in (("a", "x=y,z"), ("b", "two words (v3)")):
        Path(name).rename(odd)
    main(["base", "x=y,z", "two words (v3)", "-o", "out"])
    merge("--recipe out/tadrop.yaml -o again")
    assert same("out", "again")


def test_what_stands_in_a_recipe_is_not_said_beside_it(world, capsys):
    merge("base a -o out")
    for option in ("--dtype bf16", "--weight 2", "--expand", "--method ties"):
        line = f"--recipe out/tadrop.yaml -o again {option}"
        refused(line, f"{option.split()[0]} stands in the recipe", capsys, 2)


def test_numbers_as_they_are_typed(world, capsys):
    merge("base a b --weight .5,1 -o out")
    merge("base a b --weight 0.5,1 -o again")
    assert same("out", "again")
    refused("base a b --weight a=1,a=2 -o no", "a has two values", capsys)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("weight: {a: [{tensers: '*', value: 2}]}", "a rule has no 'tensers'"),
        ("weight: 0.5", "weight is a mapping"),
        ("- weight", "it is a mapping"),
        ("1: 2", "'1' is not weight, density or t"),
    ],
)
def test_rules_that_are_not_rules(world, capsys, text, line):
    Path("rules.yaml").write_text(text)
    refused("base a b --rules rules.yaml -o no", line, capsys)


def test_an_expert_may_be_called_a_number(world):
    Path("a").rename("7")
    Path("rules.yaml").write_text("weight: {7: 0.5}")
    merge("base 7 b --rules rules.yaml -o out")
    merge("base 7 b --weight 0.5,1 -o again")
    assert same("out", "again")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "{merge_method: linear, models: [{weight: 1}]}",
            "recipe.yaml:1: an entry of models has no model",
        ),
        (
            "{merge_method: linear, models: [a]}",
            "recipe.yaml:1: an entry of models has no model",
        ),
        ("{experts: [a], method: average, tadrop: 'off'}", "tadrop is true or false"),
        ("{experts: [a], method: average, settings: keep=1}", "settings is a list"),
    ],
)
def test_recipes_that_are_none(world, capsys, text, line):
    Path("recipe.yaml").write_text(text)
    refused("--recipe recipe.yaml -o no", line, capsys)


def test_mergekits_filters_go_on_to_the_next_scope(world, capsys):
    own = {"filter": "layers", "value": 0.25}
    models = [{"model": "a", "parameters": {"weight": [own]}}]
    content = {"merge_method": "task_arithmetic", "base_model": "base"}
    merge(mergekit(**content, models=models, parameters={"weight": 0.5}))
    rules = [{"tensors": "*layers*", "value": 0.25}, {"tensors": "*", "value": 0.5}]
    Path("rules.yaml").write_text(yaml.safe_dump({"weight": {"a": rules}}))
    merge("base a --scale 1 --rules rules.yaml -o again")
    assert same("out", "again")
    line = mergekit(**content, models=models)
    refused(line.replace("out", "no"), "is missing where no filter fits", capsys)


def test_all_that_does_not_fit_stands_under_each_other(world):
    for name in ("a", "b"):
        save_file({"other": torch.zeros(2)}, Path(name, "model.safetensors"))
    with pytest.raises(SystemExit) as stopped:
        merge("base a b -o no")
    assert len(str(stopped.value).splitlines()) == 2


def test_a_stopped_merge_does_not_say_that_it_goes_on(world, monkeypatch):
    said = ["as always"]
    monkeypatch.setattr(stopping, "_said", said)
    merge("base a -o out")
    assert said[-1] == stopping.WHOLE


def test_another_architecture_whose_tensors_fit_is_refused(world, capsys):
    for name, kind in (("base", "llama"), ("a", "mistral")):
        Path(name, "config.json").write_text(json.dumps({"model_type": kind}))
    refused("base a -o no", '"llama" against "mistral"', capsys)
    merge("base a --force -o out")
