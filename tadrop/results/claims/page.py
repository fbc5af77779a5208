"""The page that holds the paper's claims against the committed tables, one by one.

Nothing is typed: the claimed gain is a published fact, everything else is read from
tables. What nobody could run here stays unknown, with the command that would tell.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from tadrop.results.claims.evidence import (
    VERDICTS,
    Shown,
    Subject,
    gains,
    of_method,
    subjects,
    versus,
)
from tadrop.results.published import Published
from tadrop.results.store import former
from tadrop.results.table import Table

METHOD = "emr"  # the one that the paper names with its gain
TITLE = "EMR"
CLAIMED_TASKS = 8
ABOUT_AS_MANY = (7, 8)  # the text suites have seven or eight
HEAD = """\
# The claims of TADrop, checked

Written by `tadrop results` from the committed records. The paper (arXiv 2508.06163) is
known here by its abstract and by summaries; how it reads its rule is open in parts
(docs/tadrop.md), so this checks our reading of it, at the defaults chosen on validation
data. *for*, *against*: the 95 % interval, to a tenth of a point, leaves out zero; *open*:
it does not. With three sets of models an interval covers sets, tasks and test examples,
else test examples alone: see each table's caption. Every line is one comparison of many;
of twenty true nothings one would be called *for* or *against* all the same.

glyph_vit: the embedded suite. dinov2_s14: photographs, in small cuts. gpt2_small:
sentences. CLIP's checkpoints could not be had where these tables were made: *unknown*.
"""
GAIN = """
## "With {title}, {points} points on {tasks} vision tasks"

| suite | {title} with TADrop less {title} | verdict | made by |
|:--|--:|:--|:--|
{lines}
"""
WIDENS = """
## "The gain widens from 8 tasks to 30"

What TADrop adds to a method, in points, as the number of tasks grows. *for* and
*against*: the intervals of the fewest and of the most tasks are apart, which asks for
much, as the fewer tasks are among the many.

| suite | method | {heads} | verdict |
|:--|:--|{rules}:--|
{lines}
"""
KINDS = """
## "Whatever the method"

How many methods gain, lose, or show neither, against the same row without TADrop.

| suite | gain | lose | neither | made by |
|:--|--:|--:|--:|:--|
{lines}
"""
CONTROL = """
## "Adaptive, not uniform"

The same against uniform pruning at equal density, with the same norm restored: what
adapting itself adds.

| suite | gain | lose | neither | largest gain | largest loss | made by |
|:--|--:|--:|--:|:--|:--|:--|
{lines}
"""
FIELDS = """
## "Vision, language, and both"

| field | suite | {title} with TADrop less {title} | verdict | made by |
|:--|:--|--:|:--|:--|
{lines}
"""
FIELD_OF = {"glyph_vit": "vision", "dinov2_s14": "vision", "gpt2_small": "language"}
UNKNOWN_GAINS = (
    ("vit_b32, 8 tasks", "model=vit_b32 tasks=vision8"),
    ("vit_l14, 8 tasks", "model=vit_l14 tasks=vision8"),
)
UNKNOWN_GROWTH = ("vit_b16_linear, 30 tasks", "model=vit_b16_linear tasks=vision30")
UNKNOWN_FIELDS = (
    ("language", "gpt2, 7 tasks", "model=gpt2 tasks=glue7"),
    ("vision and language", "beit3, 5 tasks", "model=beit3 tasks=multimodal5"),
)
SWEEP = "`python run.py -m {suite} merge=emr_code tadrop=off,on,uniform`"

Commands = Mapping[str, str]


def markdown(
    tables: Mapping[str, Table], facts: Iterable[Published], commands: Commands
) -> str:
    """The whole page; nothing where no table says anything of TADrop.

    commands: what makes each board, by the beginning of its tables' names
    """
    speaking = subjects(tables)
    if not speaking:
        return ""
    made_by = _made_by(commands)
    parts = [HEAD, _gain(speaking, facts, made_by), _widens(speaking)]
    parts.append(KINDS.format(lines=_joined(_counts(tables, made_by))))
    parts.append(CONTROL.format(lines=_joined(_controls(speaking, made_by))))
    parts.append(FIELDS.format(title=TITLE, lines=_joined(_fields(speaking, made_by))))
    text = "".join(parts)
    return f"{text}\n{former.CAPTION}\n" if former.MARK in text else text


def _made_by(commands: Commands) -> Callable[[Subject], str]:
    """What says the command that makes a table."""
    names = sorted(commands, key=len, reverse=True)

    def made_by(subject: Subject) -> str:
        for name in names:
            if subject.file.startswith(name):
                return f"`{commands[name]}`"
        return ""

    return made_by


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _gain(
    speaking: Sequence[Subject],
    facts: Iterable[Published],
    made_by: Callable[[Subject], str],
) -> str:
    claims = [fact.summaries["gain"] for fact in facts if "gain" in fact.summaries]
    lines: list[str] = []
    for subject in speaking:
        shown = of_method(gains(subject.table), METHOD)
        if subject.tasks == CLAIMED_TASKS and shown is not None:
            lines.append(_evidence(subject, shown, made_by))
    for suite, words in UNKNOWN_GAINS:
        lines.append(_line(suite, "", "unknown", SWEEP.format(suite=words)))
    points = ", ".join(f"{claim:+.1f}" for claim in claims) or "more"
    return GAIN.format(
        title=TITLE, points=points, tasks=CLAIMED_TASKS, lines=_joined(lines)
    )


def _evidence(subject: Subject, shown: Shown, made_by: Callable[[Subject], str]) -> str:
    mark = former.MARK if shown.title.endswith(former.MARK) else ""
    return _line(subject.link, shown.text + mark, shown.verdict, made_by(subject))


def _widens(speaking: Sequence[Subject]) -> str:
    sizes = sorted({one.tasks for one in speaking if one.tasks >= CLAIMED_TASKS})
    lines: list[str] = []
    for model, group in groupby(speaking, attrgetter("model")):
        by_size = {one.tasks: one for one in group if one.tasks in sizes}
        if len(by_size) > 1:
            lines += _growths(model, by_size, sizes)
    suite, words = UNKNOWN_GROWTH
    blank = [""] * len(sizes)
    lines.append(_line(suite, TITLE, *blank, f"unknown: {SWEEP.format(suite=words)}"))
    return WIDENS.format(
        heads=" | ".join(f"{size} tasks" for size in sizes),
        rules="--:|" * len(sizes),
        lines=_joined(lines),
    )


def _growths(
    model: str, by_size: Mapping[int, Subject], sizes: Sequence[int]
) -> Iterator[str]:
    """A line for each method that stands in the tables of all numbers of tasks."""
    fewest, most = by_size[min(by_size)], by_size[max(by_size)]
    for first in gains(fewest.table):
        last = of_method(gains(most.table), first.method)
        if last is None:
            continue
        cells: list[str] = []
        for size in sizes:
            there = by_size.get(size)
            shown = of_method(gains(there.table), first.method) if there else None
            cells.append(shown.text if shown else "")
        yield _line(model, first.title, *cells, _apart(first, last))


def _apart(first: Shown, last: Shown) -> str:
    """Whether the second gain is the larger one beyond doubt."""
    if last.interval[0] > first.interval[1]:
        return VERDICTS[1]
    return VERDICTS[-1] if last.interval[1] < first.interval[0] else VERDICTS[0]


def _tally(shown: Iterable[Shown]) -> dict[str, int]:
    """How many speak for a gain, against one, and leave it open."""
    counts = dict.fromkeys(VERDICTS.values(), 0)
    for one in shown:
        counts[one.verdict] += 1
    return counts


def _counts(
    tables: Mapping[str, Table], made_by: Callable[[Subject], str]
) -> Iterator[str]:
    """Of each suite the tally of its leaderboard, or of another table without one."""
    ranked = subjects(tables, "leaderboard_")
    titles = {one.table.title for one in ranked}
    others = [one for one in subjects(tables) if one.table.title not in titles]
    for subject in [*ranked, *others]:
        tally = _tally(gains(subject.table))
        counts = [tally["for"], tally["against"], tally["open"]]
        yield _line(subject.link, *counts, made_by(subject))


def _controls(
    speaking: Iterable[Subject], made_by: Callable[[Subject], str]
) -> Iterator[str]:
    for subject in speaking:
        shown = sorted(versus(subject.table), key=attrgetter("points"))
        if not shown:
            continue
        tally = _tally(shown)
        counts = [tally["for"], tally["against"], tally["open"]]
        ends = [f"{one.title} {one.text}" for one in (shown[-1], shown[0])]
        yield _line(subject.link, *counts, *ends, made_by(subject))


def _fields(
    speaking: Iterable[Subject], made_by: Callable[[Subject], str]
) -> Iterator[str]:
    """Of each model its smallest suite of about eight tasks, or what would tell."""
    seen: set[str] = set()
    for subject in speaking:
        shown = of_method(gains(subject.table), METHOD)
        field = FIELD_OF.get(subject.model)
        fits = subject.tasks in ABOUT_AS_MANY and subject.model not in seen
        if field and shown and fits:
            seen.add(subject.model)
            yield _line(field, _evidence(subject, shown, made_by)[2:-2])
    for field, suite, words in UNKNOWN_FIELDS:
        yield _line(field, suite, "", "unknown", SWEEP.format(suite=words))
