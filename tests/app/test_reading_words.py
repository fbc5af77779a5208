"""Words that say the same twice, or would do nothing, are refused before a run."""

import pytest

from tadrop.app.main import run_words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["tadrop.reading=hill", "tadrop.q_lo=0.3"],
            "tadrop.q_lo=0.3: tadrop.reading=hill stands in for the ratio of these",
        ),
        (
            ["-m", "tadrop.reading=hill", "tadrop.q_hi=0.9,0.99"],
            "tadrop.q_hi=0.9: tadrop.reading=hill stands in for the ratio of these",
        ),
        (
            ["pack=true", "evaluate=false", "export.dir=OUT"],
            "pack=true evaluates what is read back, and needs evaluate=true",
        ),
    ],
)
def test_it_is_told_in_a_line(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_words(["merge=ties", *words])
    assert str(stopped.value.code).startswith(f"error: {said}")
    assert "\n" not in str(stopped.value.code)
