"""Which method to use: the best row for what may be stored and what data may be seen."""

from collections.abc import Callable, Iterator

from docs.generate.catalogue import Shown, averages, merging_rows, models, plain_rows

# How what is kept is told, what is seen, and the rows to choose from.
Question = tuple[Callable[[Shown], str], str, list[Shown]]
TASKS = (8, 14, 20, 30)
ONE = 1.01  # models' worth of bytes: one model, with a little for factors
NONE, TRAINING, LABELS = "none", "training inputs", "validation labels"


def choice(folder: str, ending: str = ".md") -> str:
    """A table with links to `{folder}NAME{ending}`."""
    measured = {count: averages(f"leaderboard_glyph{count}") for count in TASKS}
    ranks = _averages(TASKS[0])
    heads = [f"{count} tasks" for count in TASKS]
    lines = [
        f"| you may keep | and see | take | {' | '.join(heads)} |",
        f"|:--|:--|:--|{'--:|' * len(TASKS)}",
    ]
    for keeps, sees, rows in _questions():
        best = max(rows, key=lambda shown: ranks.get(shown.row.title, 0.0))
        title = best.row.title
        texts = [measured[count].get(title, "–") for count in TASKS]
        link = f"[{title}]({folder}{best.row.name}{ending})"
        line = f"| {keeps(best)} | {sees} | {link} | {' | '.join(texts)} |"
        if line != lines[-1]:  # the best that stores little may be the best of all
            lines.append(line)
    for title in ("Individual", "Pretrained"):
        texts = [measured[count][title] for count in TASKS]
        about = "all of them" if title == "Individual" else "none of them"
        lines.append(f"| {about} | | *{title}* | {' | '.join(texts)} |")
    return "\n".join(lines)


def _averages(count: int) -> dict[str, float]:
    """The averages of plain rows on a leaderboard of so many tasks."""
    found: dict[str, float] = {}
    for line in plain_rows(f"leaderboard_glyph{count}"):
        found[line["method"]] = float(line["average"])
    return found


def _stored(shown: Shown) -> float:
    return shown.stored or 0.0


def _questions() -> Iterator[Question]:
    """What may be kept, what may be seen, and the rows that keep to it."""
    rows = [shown for shown in merging_rows() if shown.stored and not shown.row.models]
    whole = [shown for shown in rows if _stored(shown) <= ONE]

    def one_model(shown: Shown) -> str:
        return "one model"

    def more(shown: Shown) -> str:
        return f"{models(shown.stored)} for eight tasks"

    yield one_model, "no data", [one for one in whole if one.row.data == NONE]
    yield one_model, TRAINING, [one for one in whole if one.row.data == TRAINING]
    yield one_model, LABELS, [one for one in whole if one.row.data == LABELS]
    few = [one for one in rows if one.row.data == NONE and ONE < _stored(one) <= 1.5]
    yield more, "no data", few
    yield more, "no data", [one for one in rows if one.row.data == NONE]
    yield more, TRAINING, [one for one in rows if one.row.data == TRAINING]
