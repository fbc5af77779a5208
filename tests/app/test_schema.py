"""A wrong word is refused with one line that names it, its value and what it may be."""

from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf

from tadrop.app.places import CONF
from tadrop.app.schema import commands, kinds
from tadrop.app.schema.composing import checked, composed, hydra
from tadrop.app.schema.signatures import signature
from tadrop.errors import TadropError

OFF = "tadrop is off, and this changes nothing; say tadrop=on"
REPLACED = "TADrop stands in for this rule, and this changes nothing; say tadrop=off,"
NO_ROW = "conf/merge has no such file; did you mean"
HELP = "python run.py --help lists all"
EMR = "the row emr has merge.method.rescale.rule, merge.scale, merge.scale_grid"
NO_SETTING = (
    "this is no setting, and records do not tell formulas apart by it: "
    "give the formula a row of its own (conf/merge/NAME.yaml)"
)
DENSITY = "a number above 0 and at most 1, native or null"
MISTAKES = [
    # names
    ("limt=50", "no setting is called limt; did you mean limit?"),
    ("+limt=50", "no setting is called limt; did you mean limit?"),
    ("++limt=50", "no setting is called limt; did you mean limit?"),
    ("+a.b.c=1", "no setting is called a; python run.py --help lists them"),
    ("scale=1", "no setting is called scale; did you mean merge.scale?"),
    ("q_lo=0.5", "no setting is called q_lo; did you mean tadrop.q_lo?"),
    ("merge=emrr", f"{NO_ROW} emr? {HELP}"),
    ("merge=null", f"conf/merge has no such file; {HELP}"),
    ("tadrop=true", "tadrop is on, off, uniform, inverted, pooled or shuffled"),
    ("tracker=wandbb", "tracker is mlflow, none, tensorboard, trackio or wandb"),
    ("+merge.weights=[0.3,0.7]", f"no setting is called merge.weights; {EMR}"),
    ("merge.weights=[0.3,0.7]", f"no setting is called merge.weights; {EMR}"),
    (
        "merge.sacle=1",
        f"no setting is called merge.sacle; {EMR}; did you mean merge.scale?",
    ),
    ("tracker.project=x", "tracker is none here; choose tracker=mlflow, tracker=tensorboard, "
        "tracker=trackio or tracker=wandb"),
    ("limit", "a word is KEY=VALUE"),
    ("~limit", "a setting is set, not deleted; say KEY=null"),
    ("merge.title=Mine", "this is what a file of conf/merge says of itself; "
     "it is not set by a command"),
    ("merge.method.merge._target_=a.b", NO_SETTING),
    ("+merge.refine={_target_:a.b}", NO_SETTING),
    # numbers
    ("limit=ten", "limit is a whole number of at least 1, or null"),
    ("limit=0", "limit is a whole number of at least 1, or null"),
    ("limit=-1", "limit is a whole number of at least 1, or null"),
    ("limit=1.5", "limit is a whole number of at least 1, or null"),
    ("limit=true", "limit is a whole number of at least 1, or null"),
    ("limit.x=1", "limit is a whole number of at least 1, or null"),
    ("seed=x", "seed is a whole number of at least 0"),
    ("merge.scale=abc", "merge.scale is a number"),
    ("merge.scale=[0.3,0.7]", "merge.scale is a number"),
    ("merge.scale=nan", "merge.scale is a number"),
    ("merge.scale=inf", "merge.scale is a number"),
    ("merge.scale=null", "merge.scale is a number"),
    ("merge.scale_grid=0.3", "merge.scale_grid is a list of numbers"),
    ("merge.scale_grid=[]", "merge.scale_grid is a list of numbers"),
    ("tadrop.q_lo=abc", "tadrop.q_lo is a number above 0 and below 1"),
    ("tadrop.q_lo=2", "tadrop.q_lo is a number above 0 and below 1"),
    ("tadrop.density=0", f"tadrop.density is {DENSITY}"),
    ("tadrop.density=2", f"tadrop.density is {DENSITY}"),
    ("tadrop.density=nativ", f"tadrop.density is {DENSITY}"),
    ("tadrop.gamma=0", "tadrop.gamma is a number above 0"),
    ("references.individual.scale=x", "references.individual.scale is a number"),
    # words
    ("split=tests", "split is train, validation or test"),
    ("select=foo", "select is fixed or grid"),
    ("device=tpu", "device is auto, cpu, cuda or cuda:N"),
    ("dtype=float64", "dtype is float32 or bfloat16"),
    ("export.dtype=fp8", "export.dtype is fp32, fp16, bf16 or null"),
    ("tadrop.norm=l3", "tadrop.norm is none, l1 or l2"),
    ("tadrop.map=square", "tadrop.map is identity, power or affine"),
    ("merge.method.rescale.rule=mine",
     "merge.method.rescale.rule is paper, code or least_squares"),
    ("tuned=true", "tuned is a word, or null"),
    ("overwrite=yes", "overwrite is true or false"),
    ("evaluate=1", "evaluate is true or false"),
    # lists
    ("tasks.names=[hebrew,hebrew]",
     "tasks.names is each one once, and hebrew stands there twice"),
    ("tasks.names=[]", "tasks.names is at least one"),
    ("tasks.names=hebrew", "tasks.names is a list of words"),
    ("before=tadrop", "before is a list of some of search, tadrop, sparsify, or null"),
    ("before=[foo]", "before is a list of some of search, tadrop, sparsify, or null"),
    ("model.private=head", "model.private is a list of words"),
    # paths
    ("export.dir=5", "export.dir is a path, or null"),
    ("paths.cache=true", "paths.cache is a path"),
    ("paths.results=''", "paths.results is a path"),
]  # fmt: skip
TOGETHER = [
    (
        ["model=local", "merge=ties"],
        "model=local: model.base and model.experts must be given: "
        "model.base=VALUE model.experts=VALUE",
    ),
    (
        ["merge=ties", "sparsify.keep=20"],
        "sparsify.keep=20: sparsify.keep is a number above 0 and at most 1",
    ),
    (
        ["merge=ties", "sparsify.kep=0.2"],
        "sparsify.kep=0.2: no setting is called sparsify.kep; .*"
        r"did you mean sparsify\.keep\?",
    ),
    (
        ["merge=pcb", "merge.knobs.ratio=abc"],
        "merge.knobs.ratio=abc: merge.knobs.ratio is a number above 0 and at most 1",
    ),
    (
        ["merge=tall_mask", "merge.knobs.lambdas=[a]"],
        "merge.knobs.lambdas=.a.: merge.knobs.lambdas is a number or a list of numbers",
    ),
    (
        ["merge=ties", "merge.method.merge.combine=max"],
        "merge.method.merge.combine=max: .* also that of its compiled twin",
    ),
    (
        ["merge=ties", "merge.method.merge.taus=3"],
        "no setting is called merge.method.merge.taus; the row ties has "
        "merge.method.merge.combine,",
    ),
    (["merge=ties", "merge.search.bands=3"], "no setting is called merge.search.bands"),
    (["tadrop=off", "tadrop.q_lo=0.5"], f"tadrop.q_lo=0.5: {OFF}"),
    (["tadrop=off", "tadrop.density=0.2"], f"tadrop.density=0.2: {OFF}"),
    (
        ["merge=emr", "tadrop.density=native"],
        "tadrop.density=native: the row emr has no sparsifier of its own, hence no",
    ),
    (
        ["merge=ties", "tadrop.density=native", "before=[tadrop,sparsify]"],
        "before is .*, but with tadrop.density=native .* leave sparsify out",
    ),
    (["merge=ties", "tadrop.density=0.2", "sparsify.keep=0.1"], REPLACED),
    (["merge=ties,emr"], "several values are a sweep, which -m runs"),
    (
        ["tasks=offline8"],
        "model=glyph_vit and tasks=offline8 do not go together",
    ),
    (
        ["model=vit_b32", "model.preprocess.size=abc"],
        "model.preprocess.size=abc: model.preprocess.size is a whole number",
    ),
    (
        ["model=vit_b32", "model.preprocess.sise=3"],
        r"no setting is called model.preprocess.sise; .* mean model.preprocess.size\?",
    ),
    (["tasks.limit=5"], "tasks.limit follows limit, which records name; say limit=5$"),
    (["merge=dare", "tadrop=off", "sparsify.seed=3"], "sparsify.seed follows seed,"),
    (["merge=ties", "sparsify.keep=0.1"], f"sparsify.keep=0.1: {REPLACED}"),
    (["tracker=wandb", "tracker.mode=on"], "tracker.mode is auto, online, offline or"),
]


@pytest.mark.parametrize(("word", "said"), MISTAKES, ids=lambda text: text[:30])
def test_a_wrong_word_is_told_in_one_line(word, said):
    with pytest.raises(TadropError) as info:
        checked([word])
    assert str(info.value).removeprefix("+") == f"{word.lstrip('+')}: {said}"


def test_a_rule_whose_density_tadrop_takes_has_settings():
    checked(["merge=ties", "tadrop.density=native", "sparsify.keep=0.1"])


def test_densities_are_swept():
    words = ["merge=ties", "tadrop=off,on,uniform", "tadrop.density=0.05,native"]
    assert checked(words, sweeping=True) == words


@pytest.mark.parametrize(("words", "said"), TOGETHER, ids=lambda part: str(part)[:40])
def test_words_that_do_not_go_together(words, said):
    with pytest.raises(TadropError, match=said) as info:
        checked(words)
    assert "\n" not in str(info.value)


def leaves(node, key=""):
    """Every dotted key of a configuration that holds a value, and the value."""
    for name, child in node.items():
        below = f"{key}.{name}" if key else name
        if isinstance(child, dict) and child:
            yield from leaves(child, below)
        elif not name.startswith("_"):
            yield below, child


def wrong(value):
    """A value of another kind."""
    if isinstance(value, bool) or value is None or isinstance(value, str | dict):
        return "[1.5,{a:b}]"
    return "abc"


def default():
    with hydra():
        return OmegaConf.to_container(compose("config", ["merge=ties"]), resolve=False)


@pytest.mark.parametrize(("key", "value"), list(leaves(default())))
def test_every_setting_refuses_a_value_of_another_kind(key, value):
    if isinstance(value, list):
        value = 1
    with pytest.raises(TadropError, match=rf"{key.split('.')[0]}.*: "):
        checked(["merge=ties", f"{key}={wrong(value)}"])


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


@pytest.mark.parametrize("group", ["merge", "model", "tadrop", "tracker"])
def test_every_file_passes(group):
    for name in choices(group):
        words = [f"{group}={name}"]
        if name == "local":
            words += ["model.base=a", "model.experts=[b,c]"]
        checked(words)


@pytest.mark.parametrize(
    "words",
    [
        ["merge=ties", "tadrop=off", "sparsify.keep=0.1"],
        ["merge=ties", "before=[tadrop,sparsify]", "sparsify.keep=0.1"],
    ],
)
def test_a_setting_of_a_rule_that_cuts_is_taken(words):
    assert checked(words) == words


def test_a_sweep_may_cross_tadrop_with_settings_of_the_rule_it_stands_in_for():
    words = ["merge=ties", "tadrop=on,off", "sparsify.keep=0.1,0.2"]
    assert checked(words, sweeping=True) == words


def test_plus_signs_make_no_difference():
    """Hydra wants them for a setting that a target takes and the YAML does not name."""
    plain = "merge.method.merge.combine=max"
    names = ["merge=ties_tensor", plain]
    assert checked(names) == names
    assert checked(["+limit=5"]) == ["limit=5"]
    cut = ["merge=adamerging", "merge.refine.view=null"]
    with pytest.raises(TadropError, match=r"no setting is called merge\.refine\.view"):
        checked(cut)
    words = ["merge=tsv_m", "merge.method.fused=split"]
    assert checked(words) == ["merge=tsv_m", "++merge.method.fused=split"]


def test_a_sweep_is_checked_before_its_first_job():
    words = ["merge=ties,emr", "tadrop=off,on", "tadrop.q_lo=0.3,0.5"]
    assert checked(words, sweeping=True) == words
    for word, said in (
        ("merge=ties,emrr", "merge=emrr: conf/merge has no such file"),
        ("merge.scale=0.3,abc", "merge.scale=abc: merge.scale is a number"),
        ("limit=10,x", "limit=x: limit is a whole number"),
        ("tadrop=on,of", "tadrop=of: tadrop is on, off"),
    ):
        with pytest.raises(TadropError, match=said):
            checked([word], sweeping=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["merge=a", "-m", "limit=3"], ["merge=a", "limit=3", "-m"]),
        (["-c", "job", "limit=3"], ["limit=3", "-c", "job"]),
        (["limit=3", "--info", "defaults"], ["limit=3", "--info", "defaults"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_settings_may_stand_before_and_after_a_flag(words, said):
    ties = [word.replace("merge=a", "merge=ties,emr") for word in words]
    assert commands.spelled(ties) == [
        word.replace("merge=a", "merge=ties,emr") for word in said
    ]


def test_finetuning_has_a_schema_of_its_own():
    for word, said in (
        ("recipe.stps=3", r"did you mean recipe\.steps\?"),
        ("recipe.steps=-1", "recipe.steps is a whole number of at least 0"),
        ("recipe.flip=1", "recipe.flip is true or false"),
        ("save_every=0", "save_every is a whole number of at least 1"),
        ("tsk=dtd", "did you mean task"),
    ):
        with pytest.raises(TadropError, match=said):
            checked([word], "finetune")


METHOD = """
from typing import Literal

def merge(taus, by: str = "row", share: float = 0.5, words: Literal["a", "b"] = "a"):
    if by not in ("row", "tensor"):
        raise ValueError(by)
    if not 0 < share <= 1:
        raise ValueError(share)
    return taus.mean(0, keepdim=True)
"""
ROW = """
name: mine
title: Mine
paper: null
data: none
method:
  _target_: tadrop.merging.method.Method
  merge: {_target_: my_formulas.merge, _partial_: true, by: row}
scale: 1.0
scale_grid: [1.0]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's own with a row, and a formula that can be imported."""
    (tmp_path / "my_formulas.py").write_text(METHOD)
    (tmp_path / "conf" / "merge").mkdir(parents=True)
    (tmp_path / "conf" / "merge" / "mine.yaml").write_text(ROW)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"hydra.searchpath=[file://{tmp_path / 'conf'}]"


def test_a_row_of_ones_own_stands_in_a_folder_of_ones_own(own):
    row = composed([own, "merge=mine", "merge.method.merge.share=0.2"]).merge
    assert row.name == "mine"
    assert row.method.merge.share == 0.2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("by=column", "by is row or tensor"),
        ("share=2", "share is a number above 0 and at most 1"),
        ("words=c", "words is a or b"),
        ("shar=1", r"did you mean merge\.method\.merge\.share\?"),
    ],
)
def test_what_ones_own_formula_refuses_is_refused_early(own, word, said):
    with pytest.raises(TadropError, match=said):
        checked([own, "merge=mine", f"merge.method.merge.{word}"])


def test_a_mistake_in_a_row_of_ones_own_is_told(own, tmp_path):
    file = tmp_path / "conf" / "merge" / "mine.yaml"
    file.write_text(ROW.replace("scale_grid", "scael_grid"))
    with pytest.raises(TadropError, match=r"no setting is called merge\.scael_grid"):
        checked([own, "merge=mine"])


def test_tasks_of_ones_own_stand_under_entries():
    words = ["model=dinov2_s14", "tasks.names=[mine,mnist]"]
    entry = "tasks.entries.mine={folder: my/data}"
    for word in (entry, f"+{entry}"):
        tasks = composed([*words, word]).tasks
        assert tasks.entries.mine.folder == "my/data"


def test_a_model_of_ones_own_needs_a_file_and_its_class(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(
        "class Mine:\n    def __init__(self, name: str, width: int = 3): ...\n"
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "_target_: my_model.Mine\nname: mine\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = f"hydra.searchpath=[file://{tmp_path}]"
    assert composed([own, "model=mine", "model.width=5"]).model.width == 5
    with pytest.raises(TadropError, match=r"model\.width is a whole number"):
        checked([own, "model=mine", "model.width=x"])


def test_signatures_are_read_without_importing():
    rule = signature("tadrop.sparsify.tadrop.TADrop")
    assert kinds.phrase(rule.kinds["q_hi"]) == "a number above 0 and at most 1"
    assert signature("nowhere.at.all") is None
    assert signature("math.sqrt") is None


def test_a_folder_is_asked_for_where_a_file_lies(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(TadropError, match=f"a folder, and {file} is a file"):
        checked([f"paths.results={file}/results"])
    checked([f"paths.results={Path(tmp_path) / 'new' / 'results'}"])
