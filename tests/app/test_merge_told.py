"""What `tadrop merge` says is said in the words that were typed: options, or a recipe's."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tadrop.app.merging.recipes.document import read_document
from tadrop.app.verbs.checkpoints.merge import main
from tadrop.errors import TadropError
from tests.app.test_merge_command import SHAPES, merge, refused
from tests.checkpoints import family, save


@pytest.fixture
def world(tmp_path, monkeypatch):
    family(tmp_path, 2, shapes=SHAPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-m ties --weight a=1,c=2", "error: --weight names 'c'; the experts are a, b"),
        ("-m ties --weight nan,1", "error: --weight has nan; it is a number"),
        (
            "-m ties --density 0.2,2",
            "error: --density: keep is 2.0; it is the fraction",
        ),
        ("-m ties --density 0.2 --tadrop", "error: --density is what the row's own"),
        ("--scale nan", "error: --scale nan: it is a number"),
        ("--shard-size 5XB", "error: --shard-size 5XB: it is a size such as 5GB"),
        ("--keep-base foo*", "error: --keep-base foo*: no tensor of the base"),
        ("--tokenizer foo", "words that could be joined: it is base or one of a, b"),
        ("-m ties --set q_lo=0.3", "and this changes nothing; say --tadrop"),
        ("-m ties --tadrop --set keep=0.9", "leave --tadrop out, or say --set before="),
        (
            "-m smile",
            "error: --method smile looks at data or at the model: it runs with",
        ),
        (
            "-m slerp --no-base",
            "error: --method slerp merges 2 models, and there are 3",
        ),
    ],
)
def test_messages_speak_of_options(world, capsys, options, said):
    refused(f"base a b {options} -o no", said, capsys)


def test_one_expert_and_a_method_of_two_models(world, capsys):
    refused("base a -m slerp -o no", "to merge it with BASE: --no-base", capsys)


def test_notes_speak_of_options(tmp_path, monkeypatch, capsys):
    base, _, theta0, thetas = family(tmp_path / "in", 1, shapes=SHAPES)
    state = {name: tensor.bfloat16() for name, tensor in thetas[0].items()}
    save(tmp_path / "half", {**state, "steps": theta0["steps"]})
    merge(f"{base} {tmp_path}/half -o {tmp_path}/out")
    noted = " ".join(capsys.readouterr().err.split())
    assert "--round-base compares in bfloat16" in noted
    assert "model." not in noted


def test_who_has_no_tokenizer_does_not_talk_otherwise(world, capsys):
    text = json.dumps({"eos_token": "</s>"})
    Path("base", "tokenizer_config.json").write_text(text)
    merge("base a b -o out")
    assert "tokenizer" not in capsys.readouterr().err
    Path("base", "tokenizer_config.json").rename("b/tokenizer_config.json")
    merge("base a b -o bare")
    line = "the base has no tokenizer, and so OUT has none; --tokenizer b takes one"
    assert line in " ".join(capsys.readouterr().err.split())
    merge("base a b --tokenizer b -o out2")
    assert Path("out2/tokenizer_config.json").read_text() == text


RECIPE = "base: base\nexperts: [a, b]\nmethod: {method}\n{more}\n"


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        (
            "tise",
            "",
            "r.yaml:3: method tise: there is no such method; did you mean ties?",
        ),
        ("ties", "metod: x", "r.yaml:4: a recipe has no 'metod'; did you mean method?"),
        ("ties", "tadrop: maybe", "r.yaml:4: tadrop is true or false"),
        ("ties", "private: head.*", "r.yaml:4: private is a list: [head.*]"),
        ("ties", "method: sce", "r.yaml:4: method was said in line 3 already"),
        ("ties", "settings:\n- keep=0.5\n- kep=0.3", "r.yaml:6: kep=0.3: no setting"),
        ("ties", "settings:\n- keep=3", "r.yaml:5: sparsify.keep=3: it is a number"),
        ("ties", "settings: [tadrop=on]", "r.yaml:4: tadrop: a setting does not take"),
        ("ties", "weights:\n  a: 1\n  c: 2", "r.yaml:6: weights names 'c'"),
        ("ties", "scale: no number", "r.yaml:4: scale: no number: it is a number"),
        ("ties", "keep_base: [foo]", "r.yaml:4: keep_base foo: no tensor of the base"),
        ("ties", "private: [foo]", "r.yaml:4: private: [foo]: no tensor is called so"),
    ],
)
def test_mistakes_in_a_recipe_say_their_line(world, capsys, method, more, said):
    Path("r.yaml").write_text(RECIPE.format(method=method, more=more))
    refused("--recipe r.yaml -o no", f"error: {said}", capsys)


def test_an_expert_of_a_recipe_that_is_not_there(world, capsys):
    Path("r.yaml").write_text(
        "base: base\nexperts:\n  a: a\n  x: nowhere\nmethod: ties"
    )
    refused("--recipe r.yaml -o no", "error: r.yaml:4: nowhere: there is no", capsys)


KIT = "merge_method: {method}\nbase_model: base\nmodels:\n- model: a\n{more}\n"


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("dare_ties", "", "kit.yml:1: merge_method dare_ties sums where the paper's"),
        (
            "ties",
            "  parameters:\n    weight: 1\n    densty: 1",
            "kit.yml:7: ties takes no",
        ),
        (
            "ties",
            "  parameters: {weight: abc}",
            "kit.yml:5: weight is 'abc', no number",
        ),
        ("ties", "- modl: b", "kit.yml:5: an entry of models has no model"),
        ("ties", "- model: b", "kit.yml:4: weight of a is missing"),
        ("ties", "slices: [1]", "kit.yml:5: slices is not mapped"),
        ("ties", "nonsense: 1", "kit.yml:5: nonsense is not known"),
        ("sce", "parameters:\n  select_topk: [1]", "kit.yml:6: select_topk varies"),
        ("sce", "parameters:\n  select_topk: x", "kit.yml:6: select_topk is 'x', no"),
        ("sce", "tokenizer_source: c", "kit.yml:5: tokenizer_source c is no model"),
        ("sce", "dtype: int8", "kit.yml:5: dtype int8 is not one of float32"),
    ],
)
def test_mistakes_in_a_recipe_of_mergekit_say_their_line(
    world, capsys, method, more, said
):
    Path("kit.yml").write_text(KIT.format(method=method, more=more))
    refused("--recipe kit.yml -o no", f"error: {said}", capsys)


def test_the_line_of_a_missing_entry_is_that_of_what_it_would_stand_in(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a:\n  b:\n  - 1\n  - {c: 2}\n")
    document = read_document(file, "file")
    assert document.at("a", "b", 1, "c") == f"{file}:4"
    assert document.at("a", "d") == f"{file}:1"
    assert document.at("z") == str(file)
    file.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(TadropError, match=r"x\.yaml:3: a was said in line 1 already"):
        read_document(file, "file")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--set export.dtype=fp16", "export.dtype: a setting does not take it"),
        (
            "--set tadrop=on",
            "tadrop: a setting does not take it; it is said by --tadrop",
        ),
        ("--set model=gpt2", "model: a setting does not take it; it is said by BASE"),
        ("--set limit=3", "limit=3: changes nothing about a merge; leave it out"),
        ("--scale 0.2 --set scale=0.3", "scale=0.3: the scale is 0.2 already"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(world, capsys, option, said):
    refused(f"base a b -m ties {option} -o no", f"error: {said}", capsys)


@pytest.mark.parametrize("name", ["README.md", "tadrop.json", "config.json"])
def test_an_expert_called_like_a_file_of_out(world, capsys, name):
    Path("base/config.json").write_text("{}")
    said = f"error: an expert is called {name}, and so is what lies in OUT"
    for method in ("average", "emr --dry-run"):
        refused(f"base {name}=a b -m {method} --expand -o no", said, capsys)
    assert not Path("no").exists()
    merge(f"base {name}=a b -m average -o out")


def test_an_out_of_no_name_is_none(world, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["base", "a", "-o", ""])
    assert stopped.value.code == 2
    assert "say where to write: -o OUT" in capsys.readouterr().err
    assert not Path("OUT").exists()


def test_a_folder_of_checkpoints_is_no_checkpoint(world, capsys):
    said = "holds no weights itself but checkpoints in folders; name one: a, b, base"
    refused(". a -o ../no", said, capsys)
    said = "x.safetensors: there is no such file or folder, and it is no hub id"
    refused("base nowhere/x.safetensors -o no", said, capsys)


def test_a_merge_s_folder_stands_for_its_recipe(world):
    merge("base a b -m ties -o out")
    merge("--recipe out -o again")
    one, other = (
        load_file("out/model.safetensors"),
        load_file("again/model.safetensors"),
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_entry_to_take_of_several_states(world, capsys):
    state = load_file("a/model.safetensors")
    other = {**state, "n.weight": state["n.weight"] + 1}
    torch.save({"model": state, "ema": other}, "two.ckpt")
    refused("base two.ckpt -o no", "choose one with --key NAME", capsys)
    refused("base two.ckpt --key emma -o no", "has no state 'emma', but '", capsys)
    said = "error: --key ema: no input is a torch file"
    refused("base a --key ema -o no", said, capsys)
    merge("base two.ckpt --key ema -m average -o out")
    written = load_file("out/model.safetensors")
    torch.testing.assert_close(written["n.weight"], other["n.weight"])
    merge("--recipe out/tadrop.yaml -o again")
    assert torch.equal(
        load_file("again/model.safetensors")["n.weight"], written["n.weight"]
    )


def test_a_base_without_a_configuration_is_told(world, capsys):
    Path("a/config.json").write_text('{"model_type": "gpt2"}')
    merge("base a b -m average -o out")
    said = "the base has no config.json, and so OUT has none; a has one"
    assert said in " ".join(capsys.readouterr().err.split())
    Path("base/config.json").write_text('{"model_type": "gpt2"}')
    merge("base a b -m average -o other")
    assert "no config.json" not in capsys.readouterr().err
