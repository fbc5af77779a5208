"""What a figure shows, in words: the text for those who do not see it."""

# By the first word of a figure's name: `tasks_ties` shows one method, `tasks` all.
SHOWS = {
    "accuracy": "average accuracy of each method without TADrop, with it and with its "
    "control, the individual models and the untouched base as lines",
    "storage": "average accuracy of each method against the bytes that it stores for a "
    "task, with the individual models and the untouched base as lines",
    "counts": "share of the individual models' accuracy that is left as the number of "
    "merged tasks grows, a panel for each method",
    "lambda": "accuracy on validation data against lambda, without TADrop, with it and "
    "with its control, the chosen value ringed, a panel for each method",
    "density": "average accuracy against the density that is set, with TADrop and with "
    "its controls, without it as a level line, a panel for each method",
    "sparsity": "map of the fraction that TADrop drops, a line for each kind of tensor "
    "and a column for each block",
    "profile": "quantile ratio, fraction dropped and rescale factor of each kind of "
    "tensor by the depth of its block",
    "tasks": "left, average accuracy of the best methods as tasks are added; right, what "
    "TADrop adds to each of them",
}
NORM = "average validation accuracy for pairs of quantiles, survivors rescaled by norm"


def described(title: str, what: str) -> str:
    """The text of a figure. title: of its table; what: the end of its file's name."""
    kind, _, method = what.partition("_")
    if kind == "tasks" and method:
        shows = (
            f"accuracy of {method.replace('_', ' ')} on each task without TADrop, with "
            "it and with its control, the largest gain on top"
        )
    elif kind == "quantiles":
        name = method.replace("_", " ")
        shows = f"average accuracy of {name} with TADrop for pairs of quantiles"
    else:
        shows = SHOWS.get(kind, f"{NORM} {what}")
    return f"{title}: {shows}"
