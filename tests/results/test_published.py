"""Published numbers: read strictly, matched to our rows, marked as published with their source."""

from pathlib import Path
from statistics import mean

import pytest

from tadrop.app.boards.board import Board
from tadrop.results import formats, published, table
from tadrop.results.published import SUMMARIES
from tadrop.types import TadropError
from tests.records import record

ROOT = Path(__file__).parents[2]
FOLDER = published.FOLDER
FILES = sorted(FOLDER.rglob("*.csv"))
HEAD = "model,tasks,checkpoints,method,merge,uses,source,note,mnist,svhn,average\n"


@pytest.mark.parametrize(
    "folder", [FOLDER, FOLDER / "sweeps"], ids=["tables", "sweeps"]
)
def test_every_committed_row_is_a_fact_with_its_source(folder):
    for fact in published.read(folder):
        assert fact.model
        assert fact.tasks
        assert fact.method
        assert len(fact.source) > 8
        assert fact.values or fact.summaries
        assert all(
            -25 <= number <= 140
            for number in (*fact.values.values(), *fact.summaries.values())
        )


def test_printed_averages_are_the_means_of_their_rows_or_say_that_they_are_not():
    for fact in published.read(FOLDER):
        if (
            len(fact.values) > 1
            and "average" in fact.summaries
            and "average as printed" not in fact.note
        ):
            assert fact.summaries["average"] == pytest.approx(
                mean(fact.values.values()), abs=0.16
            ), fact


def test_tadrop_s_own_claim_is_a_gain_and_never_an_accuracy():
    (claim,) = [fact for fact in published.read(FOLDER) if "TADrop" in fact.method]
    assert claim.values == {}
    assert claim.summaries == {"gain": 2.0}
    assert "not known" in claim.note


def test_one_number_printed_twice_was_chosen_in_one_way():
    """Numbers of a method on the same checkpoints that agree are of the same merge."""
    chosen = {}
    for fact in published.read(FOLDER):
        if "average" in fact.summaries and fact.merge and fact.checkpoints:
            of = (fact.model, fact.tasks, fact.checkpoints, fact.merge)
            for other in chosen.setdefault(of, []):
                if abs(other.summaries["average"] - fact.summaries["average"]) < 0.06:
                    assert other.selected == fact.selected, (other, fact)
            chosen[of].append(fact)


def test_known_numbers():
    facts = published.about(published.read(FOLDER), "vit_b32", "vision8")
    emr = [fact for fact in facts if fact.merge == "emr_code" and fact.values]
    assert {round(fact.summaries["average"], 2) for fact in emr} == {88.7, 87.75}
    assert emr[0].uses == "task id, masks"


def test_a_model_s_source_picks_its_checkpoint_family():
    rows = published.read(FOLDER)
    hub = published.about(rows, "vit_b32", "vision8", "hub")
    assert {fact.checkpoints for fact in hub} == {"FusionBench", ""}
    assert len(published.about(rows, "vit_b32", "vision8")) > len(hub)
    assert published.about(rows, "glyph_vit", "glyph8") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            HEAD + "m,t,c,TIES,ties,,,,1,2,3\n",
            "line 2: a published number needs its source",
        ),
        (
            HEAD + "m,t,c,TIES,ties,,paper,,x,2,3\n",
            "line 2: mnist is 'x', not a number",
        ),
        (HEAD + "m,t,c,TIES,ties,,paper,,1,2,3,4\n", "line 2: the number of cells"),
        (HEAD + "m,t,c,TIES,ties,,paper,,1\n", "line 2: the number of cells"),
        (
            "model,tasks,method,source,mnist\nm,t,TIES,paper,1\n",
            "no column called checkpoints, merge, uses, note",
        ),
    ],
)
def test_what_is_not_a_fact_is_refused(tmp_path, text, complaint):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(TadropError, match=complaint):
        published.read(tmp_path)


def test_a_folder_that_is_not_there():
    with pytest.raises(TadropError, match="no such folder"):
        published.read(Path("nowhere"))


def test_published_rows_stand_beside_ours(tmp_path):
    text = (
        HEAD + "m,t,c,TIES as printed,ties,,paper one,,90.5,,80.0\n"
        "m,t,c,Newer,,task id,paper two,trap,,70.1,\n"
    )
    (tmp_path / "facts.csv").write_text(text)
    ours = table.build(
        [record("individual"), record("ties"), record("ties", tadrop={}), record("emr")]
    )
    both = published.beside(ours, published.read(tmp_path))
    labels = [formats.label(row) for row in both.rows]
    assert labels == [
        "Individual",
        "TIES",
        "+ TADrop",
        "published: TIES as printed [1]",
        "EMR",
        "published: Newer [2]",
    ]
    beside = both.rows[3]
    assert formats.texts(both, beside)[:3] == ["90.5", "", "80.0"]
    assert beside.keys == ()
    assert beside.ends_section
    assert not both.rows[2].ends_section
    assert "[1] paper one; c checkpoints." in both.caption
    assert "[2] paper two; c checkpoints; uses task id; trap." in both.caption
    assert "published: TIES as printed" in formats.markdown(both)
    assert ",paper one\n" in formats.csv(both)
    assert "published: TIES" in formats.latex(both)


def test_without_facts_the_table_is_untouched():
    ours = table.build([record("ties")])
    assert published.beside(ours, []) is ours


def test_summaries_are_not_tasks():
    for fact in published.read(FOLDER):
        assert not set(fact.values) & set(SUMMARIES)


@pytest.mark.parametrize(
    ("board", "model"),
    [
        ("table_8", "vit_b32"),
        ("core", "vit_b16_linear"),
        ("core", "gpt2"),
        ("core", "beit3"),
    ],
)
def test_every_task_of_a_papers_table_finds_its_published_column(board, model):
    tasks = Board(board, (f"model={model}",)).sweep.tasks
    facts = published.about(published.read(FOLDER), model, tasks.name)
    columns = {published.squash(name) for fact in facts for name in fact.values}
    assert [name for name in tasks.names if published.squash(name) not in columns] == []


def test_a_published_row_stands_beside_the_variant_that_made_it():
    """Only the script for 30 tasks has the paper's rescaler; a is another in each port."""
    beside = {}
    for folder in (FOLDER, FOLDER / "sweeps"):
        for fact in published.read(folder):
            beside.setdefault(fact.merge, set()).add((fact.checkpoints, fact.tasks))
    assert beside["emr"] == {("EMR-Merging", "vision30")}
    assert ("FusionBench", "vision8") in beside["emr_code"]
    assert ("FusionBench", "glue7") in beside["emr_code"]
    assert ("unilm BEiT3", "multimodal5") in beside["emr_code"]
    assert beside["regmean_a60"] == {("FusionBench", "glue7")}
    assert beside["regmean_a95"] == {("FusionBench", "vision8")}
    assert ("FusionBench", "glue7") in beside["fisher_batch"]


# What papers print and no row of the suite computes.
LACKING = {"", "mtl", "regmean_pp"}


def test_a_published_row_names_a_row_of_the_suite():
    rows = {path.stem for path in (ROOT / "conf" / "merge").glob("*.yaml")}
    for folder in (FOLDER, FOLDER / "sweeps"):
        for fact in published.read(folder):
            assert fact.merge in rows | LACKING, (fact.method, fact.merge)


def test_a_published_row_of_another_packaging_says_so():
    """FusionBench has q, k and v apart also where a row's authors fuse them."""
    told = set()
    for fact in published.read(FOLDER):
        row = ROOT / "conf" / "merge" / f"{fact.merge}.yaml"
        fuses = row.is_file() and "\npackaging: fused" in row.read_text()
        if fuses and fact.checkpoints == "FusionBench" and fact.model != "gpt2":
            assert "model.packaging=split" in fact.note, fact.method
            told.add(fact.merge)
    assert {"tsv_m", "iso_c", "iso_cts", "wudi", "emr_code", "adamerging"} <= told
