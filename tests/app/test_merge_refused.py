"""What `tadrop merge` refuses, and what it says once: names, recipes, seeds, notes."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tadrop.app.verbs.checkpoints.merge import main
from tests.app.test_merge_command import SHAPES, merge, refused, same, tensors
from tests.checkpoints import family, save


@pytest.fixture
def world(tmp_path, monkeypatch):
    family(tmp_path, 2, shapes=SHAPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [".", "..", "a\tb"])
def test_names_that_no_folder_can_have(world, capsys, name):
    with pytest.raises(SystemExit) as stopped:
        main(["base", f"{name}=a", "-o", "no", "--expand"])
    assert "cannot be an expert's name; NAME=PATH" in stopped.value.code
    refused("base ..=nowhere -o no", "'..' cannot be an expert's name", capsys)


def test_one_thing_said_in_two_ways(world, capsys):
    Path("r.yaml").write_text("weight:\n  a: 3\n")
    line = "--weight and --rules both say it of a; say it once"
    refused("base a b --weight 1,2 --rules r.yaml -o no", line, capsys)
    refused("base a b --weight a=1 --rules r.yaml -o no", line, capsys)
    merge("base a b -m task_arithmetic --weight 2 --rules r.yaml -o rest")
    merge("base a b -m task_arithmetic --weight 3,2 -o both")
    same("rest", "both")
    words = "base a b --private n.* --keep-base n.* -o no"
    refused(words, "n.* is --private, each expert's own, and --keep-base", capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--public"], "--public is of --push ORG/NAME, which is not said"),
        (["--meth", "ties"], "unrecognized arguments: --meth ties"),
    ],
)
def test_options_that_would_do_nothing_or_are_cut_short(world, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        main(["base", "a", "-o", "no", *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--recipe", "--rules"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("weight:\n  a: [0.5\n", "x.yaml:3: the {} is no YAML (expected ',' or "),
        ("weight: \x07", "x.yaml: the {} is no YAML (unacceptable character"),
    ],
)
def test_yaml_that_is_none(world, capsys, option, text, line):
    Path("x.yaml").write_text(text)
    models = "" if option == "--recipe" else "base a"
    what = "recipe" if option == "--recipe" else "file of rules"
    refused(f"{models} {option} x.yaml -o no", line.format(what), capsys)


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ("weight:\n  a: 1\n  zz: 1", "3: weight names 'zz'; the experts are a, b"),
        ("weight:\n  a: [0.2,\n    x]", "3: weight has 'x'; it is a number, a list"),
        ("density:\n  a:\n    - value: 3", "3: density: keep is 3.0; it is the"),
        ("density: {a: 0.5}\nweight: {b: yes}", "2: weight has True; it is a number"),
        (
            "weight:\n  b:\n  - {tensors: '*', value: 1}\n  - tensors: 'no.*'",
            "4: weight: no merged tensor is called 'no.*'",
        ),
        ("weight:\n  a:\n  - {tensor: x}", "3: weight: a rule has no 'tensor'; it"),
        ("weight:\n  a: []", "1: weight: a gradient over depth has at least one"),
        ("wait:\n  a: 1", "1: 'wait' is not weight, density or t"),
        ("t: 0.5", "1: --method ties has no t, which is how far"),
    ],
)
def test_mistakes_in_rules_say_their_line(world, capsys, rules, line):
    Path("r.yaml").write_text(rules)
    refused("base a b -m ties --rules r.yaml -o no", f"error: r.yaml:{line}", capsys)


def test_a_mistake_in_an_option_beside_rules_is_not_the_rules(world, capsys):
    Path("r.yaml").write_text("weight: {a: 1}")
    words = "base a b -m ties --rules r.yaml --weight c=1 -o no"
    refused(words, "error: --weight names 'c'; the experts are a, b", capsys)


def test_weights_of_experts_whose_names_have_equals_signs(world):
    main(["base", "x=y=a", "b c=b", "--weight", "x=y=1,b c=3", "-o", "one"])
    main(["base", "a", "b", "--weight", "1,3", "-o", "two"])
    assert same("one", "two")


def test_a_seed_where_nothing_is_drawn(world, capsys):
    line = "--seed 3: nothing is drawn by"
    refused("base a b -m ties --seed 3 -o no", line, capsys)
    refused("base a b -m dare --tadrop --seed 3 -o no", line, capsys)
    merge("base a b -m dare --seed 3 -o three")
    merge("base a b -m dare --seed 4 -o four")
    assert not same("three", "four")


def test_notes_are_said_once(world, capsys):
    merge("base a a -m ties --verify -o out")
    assert capsys.readouterr().err.count("a-2 is a: the same files") == 1


def test_patterns_to_paste_fit_no_other_tensors(world, capsys):
    more = {"layers.0.w.bias": torch.ones(2)}
    save_file(tensors("base") | more, Path("a", "model.safetensors"))
    line = "1 are not in the base: layers.0.w.bias (if they are the task's own, heads: "
    refused("base a -o no", f"{line}--private 'layers.0.w.bias')", capsys)


def test_a_pattern_for_many_layers(world, capsys):
    shapes = {f"layers.{layer}.w.weight": (2, 2) for layer in range(9)}
    state = {name: torch.ones(shape) for name, shape in shapes.items()}
    save(Path("wide"), state)
    biases = {f"layers.{layer}.w.bias": torch.ones(2) for layer in range(9)}
    save(Path("biased"), state | biases)
    refused("wide biased -o no", "--private '*.bias')", capsys)
    main(["wide", "biased", "--private", "*.bias", "-o", "out"])


def kit(**content):
    Path("kit.yml").write_text(yaml.safe_dump({"dtype": "float32", **content}))
    return "--recipe kit.yml -o out"


def test_mergekits_base_that_models_leave_out_is_one_of_them(world, capsys):
    models = [{"model": "a", "parameters": {"weight": 1}}]
    content = {"merge_method": "linear", "base_model": "base", "models": models}
    refused(kit(**content), "weight of base is missing", capsys)
    merge(kit(**content, parameters={"weight": 3}))
    base, a, out = (tensors(name) for name in ("base", "a", "out"))
    for name in SHAPES:
        wanted = (a[name] + 3 * base[name]) / 4
        torch.testing.assert_close(out[name], wanted, rtol=0, atol=1e-6)


def test_mergekits_models_are_named_once(world, capsys):
    models = [{"model": "a"}, {"model": "b"}, {"model": "a"}]
    content = {"merge_method": "linear", "parameters": {"weight": 1}}
    refused(kit(**content, models=models), "models names a twice", capsys)


def test_mergekits_tokenizer_is_that_of_its_base(world, capsys):
    for name in ("base", "a", "b"):
        text = json.dumps({"chat_template": name})
        Path(name, "tokenizer_config.json").write_text(text)
    models = [{"model": "a"}, {"model": "base"}, {"model": "b"}]
    content = {"models": models, "parameters": {"weight": 1}, "merge_method": "linear"}
    for number, (word, whose) in enumerate((("base", "base"), ("b", "b"))):
        line = kit(**content, base_model="base", tokenizer_source=word)
        merge(line.replace("out", f"out{number}"))
        taken = json.loads(Path(f"out{number}/tokenizer_config.json").read_text())
        assert taken["chat_template"] == whose
    refused(kit(**content, tokenizer_source="base"), "base needs base_model", capsys)
    line = "tokenizer_source c is no model of it"
    refused(kit(**content, tokenizer_source="c"), line, capsys)


def test_slerp_goes_as_far_as_t_says_of_each_tensor(world, capsys):
    merge("--no-base a b -m slerp --t 0:1 -o out")
    a, b, out = (tensors(name) for name in ("a", "b", "out"))
    torch.testing.assert_close(out["layers.0.w.weight"], a["layers.0.w.weight"])
    torch.testing.assert_close(out["layers.1.w.weight"], b["layers.1.w.weight"])
    torch.testing.assert_close(out["n.weight"], a["n.weight"])
    rules = [{"tensors": "n.*", "value": 1}, {"tensors": "*", "value": 0}]
    Path("rules.yaml").write_text(yaml.safe_dump({"t": rules}))
    merge("--no-base a b -m slerp --rules rules.yaml -o two")
    two = tensors("two")
    torch.testing.assert_close(two["n.weight"], b["n.weight"])
    torch.testing.assert_close(two["layers.1.w.weight"], a["layers.1.w.weight"])
    merge("--recipe two/tadrop.yaml -o again")
    assert same("two", "again")
    refused("base a b -m ties --t 0.5 -o no", "--method ties has no t, which", capsys)
    refused("--no-base a b -m slerp --t x -o no", "--t: 'x' is no number", capsys)


def test_mergekits_t_varies_as_it_does_there(world, capsys):
    t = [{"filter": "layers", "value": [0, 1]}, {"value": 0.25}]
    content = {"merge_method": "slerp", "base_model": "a", "models": [{"model": "b"}]}
    merge(kit(**content, parameters={"t": t}))
    rules = [{"tensors": "*layers*", "value": [0, 1]}, {"tensors": "*", "value": 0.25}]
    Path("rules.yaml").write_text(yaml.safe_dump({"t": rules}))
    merge("--no-base a b -m slerp --rules rules.yaml -o two")
    assert same("out", "two")
    line = "t is missing where no filter fits"
    refused(kit(**content, parameters={"t": t[:1]}), line, capsys)


def test_convert_takes_o_for_out(world, monkeypatch):
    from tadrop.app.verbs import convert

    torch.save({"w": torch.ones(2)}, "x.pt")
    monkeypatch.setattr("sys.argv", ["convert", "x.pt", "-o", "there"])
    convert.main()
    assert load_file(next(Path("there").rglob("x.safetensors"))).keys() == {"w"}


def test_tensors_of_other_names(world, capsys):
    state = tensors("a")
    other = {}
    for name, tensor in state.items():
        other[name.replace("layers.", "h.").replace(".w.", ".dense.")] = tensor
    Path("b/model.safetensors").unlink()
    save_file(other, "b/model.safetensors")
    refused("base a b -o no", "2 of the base are missing: layers.0.w.weight", capsys)
    rules = ["--rename", r"b:^h\.(\d+)=layers.\1", "--rename", r"b:\.dense\.=.w."]
    main(["base", "a", "b", "-m", "average", "-o", "out", *rules])
    for name, tensor in tensors("out").items():
        torch.testing.assert_close(tensor, state[name])
    merge("--recipe out/tadrop.yaml -o again")
    assert same("out", "again")
    for rule, line in (
        ("b:^x=y", "--rename b:^x=y: changes no tensor's name; one of them is 'h.0.de"),
        ("b:(=y", "--rename b:(=y: missing ), unterminated subpattern"),
        (r"b:.*=y", "--rename b: gives two tensors of it the same name"),
        ("c:h=y", "--rename c: is no whole expert; they are a, b"),
        ("b", "--rename b: it is NAME:REGEX=REPLACEMENT"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["base", "a", "b", "-o", "no", "--rename", rule])
        assert line in stopped.value.code
