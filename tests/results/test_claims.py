"""The paper's claims are judged by what tables hold, and by nothing else."""

from dataclasses import replace

import pytest

from tadrop.results import table
from tadrop.results.claims import page
from tadrop.results.claims.evidence import gains, subjects, versus
from tadrop.results.published import Published
from tests import records as hand

FACT = Published(
    "vit_b32", "vision8", "", "TADrop", "", "", "paper", "", {}, {"gain": 2.0}
)


def made(model="glyph_vit", tasks=8, **change):
    """EMR plain and with TADrop, the second row changed, on so many tasks."""
    built = table.build([hand.record("emr"), hand.record("emr", tadrop={})])
    plain, adaptive = built.rows
    names = tuple("abcdefghijklmnopqrstuvwxyz0123"[:tasks])
    rows = (plain, replace(adaptive, **change))
    return replace(built, title=f"{model}, {tasks} tasks", tasks=names, rows=rows)


def gained(low, high, tasks=8, **more):
    points = (low + high) / 2
    return made(tasks=tasks, difference=points, interval=(low, high), **more)


def line_of(text, beginning):
    (line,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return line


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((1.0, 3.0), "for"), ((-0.5, 0.5), "open"), ((-3.0, -1.0), "against")],
)
def test_an_interval_is_a_verdict(interval, verdict):
    (shown,) = gains(gained(*interval))
    assert shown.verdict == verdict
    text = page.markdown({"table_x": gained(*interval)}, [FACT], {})
    gain = text.split("##")[1]
    assert line_of(gain, "| [glyph_vit, 8").split(" | ")[2] == verdict
    assert "+2.0 points on 8 vision tasks" in text


def test_the_table_that_covers_most_speaks_for_a_suite():
    tables = {
        "leaderboard_x": gained(1, 2),
        "ablation_tasks_8": gained(3, 4),
        "table_x": gained(5, 6),
        "sweep_x": gained(7, 8),
        "table_y": gained(5, 6, model="dinov2_s14"),
    }
    found = subjects(tables)
    assert [one.file for one in found] == ["table_y", "ablation_tasks_8"]


@pytest.mark.parametrize(
    ("last", "verdict"),
    [((2.1, 4.0), "for"), ((1.9, 4.0), "open"), ((-1.0, 0.9), "against")],
)
def test_a_gain_widens_where_intervals_are_apart(last, verdict):
    tables = {"table_8": gained(1.0, 2.0), "table_30": gained(*last, tasks=30)}
    text = page.markdown(tables, [FACT], {})
    cells = line_of(text, "| glyph_vit | EMR |").strip("| ").split(" | ")
    assert cells[2] == "+1.5 [1.0, 2.0]"
    assert cells[4] == verdict


def test_rows_that_are_not_of_the_defaults_or_saw_test_inputs_do_not_count():
    assert not list(gains(gained(1, 2, settings={"tadrop.norm": "l2"})))
    assert not list(gains(gained(1, 2, data=("test inputs",))))
    assert not list(gains(gained(1, 2, variant="uniform")))
    assert not list(versus(gained(1, 2)))


def test_methods_are_counted_and_the_command_is_named():
    one = gained(1, 2, versus=-1.0, versus_interval=(-2.0, -0.5))
    text = page.markdown({"table_x": one}, [FACT], {"table": "python run.py +board=x"})
    link = "| [glyph_vit, 8 tasks](table_x.md) |"
    kinds = text.split("Whatever the method")[1].split("##")[0]
    assert line_of(kinds, link) == f"{link} 1 | 0 | 0 | `python run.py +board=x` |"
    control = text.split("Adaptive, not uniform")[1].split("##")[0]
    assert line_of(control, link).startswith(f"{link} 0 | 1 | 0 | EMR -1.0")


def test_what_nobody_ran_is_unknown_and_nothing_is_said_of_nothing():
    text = page.markdown({"table_x": gained(1, 2)}, [FACT], {})
    assert "| vit_b32, 8 tasks |  | unknown | `python run.py -m model=vit_b32" in text
    assert page.markdown({"table_x": made()}, [FACT], {}) == ""


def test_former_rows_keep_their_dagger():
    text = page.markdown({"table_x": gained(1, 2, former=True)}, [FACT], {})
    assert "+1.5 [1.0, 2.0]†" in text
    assert text.endswith("to be made anew.\n")
