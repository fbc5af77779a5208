"""43 to 47: vocabularies, configurations and how a model is talked to."""

import json

import torch

from tadrop.app.merging.recipes.recipe import read_recipe
from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints import save, weights
from tests.checkpoints.conditions import merged, noted, refused
from tests.checkpoints.tiny_models import edit, family, llama


def test_46_another_function_needs_force(tmp_path, capsys):
    base, experts, _ = family(tmp_path, llama())
    edit(experts[0] / "config.json", rope_theta=5e5, rope_parameters=None)
    line = (
        r"a computes otherwise than the base \(rope_theta: 10000.0 against 500000.0\)"
    )
    refused(base, experts, tmp_path / "out", line + ".*say --force")
    merged(base, experts, tmp_path / "out", force=True)
    assert "merged as forced" in noted(capsys)


def test_47_a_chat_template_is_of_the_tokenizer_that_is_taken(tmp_path, capsys):
    base, experts, *_ = family(tmp_path, llama())
    for folder in (base, *experts):
        edit(folder / "tokenizer_config.json", eos_token="</s>")
    edit(experts[0] / "tokenizer_config.json", chat_template="{{ x }}", eos_token="<e>")
    out = merged(base, experts, tmp_path / "out").path
    assert "the tokenizer is that of the base (chat_template differs in a" in noted(
        capsys
    )
    assert "chat_template" not in (out / "tokenizer_config.json").read_text()
    out = merged(base, experts, tmp_path / "two", tokenizer="a").path
    assert "the tokenizer is that of a" in noted(capsys)
    assert "{{ x }}" in (out / "tokenizer_config.json").read_text()


def with_tokens(folder, rows, tokens, seed):
    """A model of an embedding and a norm, and a tokenizer of these tokens."""
    shapes = {"model.embed_tokens.weight": (rows, 3), "norm.weight": (3,)}
    state = weights(seed, shapes=shapes)
    save(folder, state)
    content = {"model": {"vocab": {token: row for row, token in enumerate(tokens)}}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"vocab_size": rows}))
    return state["model.embed_tokens.weight"]


def rows_of(out):
    return open_checkpoint(out.path)["model.embed_tokens.weight"]


def test_43_a_vocabulary_that_grew(tmp_path, capsys):
    theta0 = with_tokens(tmp_path / "base", 3, "xyz", 0)
    theta = with_tokens(tmp_path / "a", 5, "xyzuv", 1)
    base, experts = tmp_path / "base", [tmp_path / "a"]
    line = r"\(a: 5 tokens against 3, unlike: 'u', 'v'\); choose .*--tokenizer base, un"
    refused(base, experts, tmp_path / "no", line)
    one = merged(base, experts, tmp_path / "one", tokenizer="base")
    torch.testing.assert_close(rows_of(one), theta[:3])
    assert "vocabulary: base, 3 rows" in noted(capsys)
    union = merged(base, experts, tmp_path / "two", tokenizer="union")
    torch.testing.assert_close(rows_of(union), theta)
    assert json.loads((union.path / "config.json").read_text())["vocab_size"] == 5
    half = merged(
        base,
        experts,
        tmp_path / "half",
        "task_arithmetic",
        scale=0.5,
        tokenizer="union",
    )
    # Tokens that the base lacks are not scaled.
    torch.testing.assert_close(rows_of(half)[:3], (theta0 + theta[:3]) / 2)
    torch.testing.assert_close(rows_of(half)[3:], theta[3:])


def test_44_rows_that_only_pad(tmp_path, capsys):
    theta0 = with_tokens(tmp_path / "base", 4, "xyz", 0)
    theta = with_tokens(tmp_path / "a", 8, "xyz", 1)
    base, experts = tmp_path / "base", [tmp_path / "a"]
    out = merged(base, experts, tmp_path / "out")
    assert "a: 8 rows against 4, for the same tokens" in noted(capsys)
    torch.testing.assert_close(rows_of(out)[:3], theta[:3])
    assert torch.equal(rows_of(out)[3], theta0[3])


def test_45_another_tokenizer_of_the_same_size(tmp_path):
    with_tokens(tmp_path / "base", 3, "xyz", 0)
    theta = with_tokens(tmp_path / "a", 3, "zyx", 1)
    base, experts = tmp_path / "base", [tmp_path / "a"]
    line = r"\(a: 3 tokens against 3, unlike: 'x', 'z'\); choose the one"
    refused(base, experts, tmp_path / "no", line)
    out = merged(base, experts, tmp_path / "out", tokenizer="base")
    torch.testing.assert_close(rows_of(out), theta.flip(0))


def test_45_and_23_a_vocabulary_and_a_size_that_differ_are_both_told(tmp_path):
    base, experts, _ = family(tmp_path, llama())
    llama(hidden_size=32, vocab_size=99).save_pretrained(tmp_path / "wide")
    line = (
        r"(?s)wide does not fit the base .*another size of model: hidden_size 16 against "
        r"32.*\n +vocabularies differ from the base's \(wide: 99 rows against 96\)"
    )
    refused(base, [*experts, tmp_path / "wide"], tmp_path / "out", line)


def test_47_a_chat_template_by_itself(tmp_path, capsys):
    base, experts, *_ = family(tmp_path, llama(), ("a", "b", "c"))
    for folder in (base, *experts):
        edit(folder / "tokenizer_config.json", eos_token="</s>")
    edit(base / "tokenizer_config.json", chat_template="{{ base }}")
    for expert in experts[:2]:
        (expert / "chat_template.jinja").write_text("{{ common }}")
    (tmp_path / "own.jinja").write_text("{{ own }}")
    wanted = {
        "a": "{{ common }}",
        "auto": "{{ common }}",
        "base": "{{ base }}",
        str(tmp_path / "own.jinja"): "{{ own }}",
    }
    for number, (word, text) in enumerate(wanted.items()):
        place = tmp_path / f"out{number}"
        out = merged(base, experts, place, chat_template=word).path
        assert (out / "chat_template.jinja").read_text() == text
        assert "chat_template" not in (out / "tokenizer_config.json").read_text()
        assert "chat_template differs" not in noted(capsys)
    recipe = read_recipe(out / "tadrop.yaml", "again")
    assert recipe.model["chat_template"] == str(out / ".." / "own.jinja")
    line = (
        r"chat_template=c: there is no template; it is auto, a file, or one of base, a"
    )
    refused(base, experts, tmp_path / "no", line, chat_template="c")
