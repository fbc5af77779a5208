"""The words of a command that Hydra runs, checked before Hydra sees them."""

from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

# Flags after which nothing is run, so that nothing is checked: they are questions.
QUESTIONS = ("help", "hydra_help", "version", "shell_completion", "info")


def spelled(words: Sequence[str], name: str = "config") -> list[str]:
    """The words of a command line as Hydra takes them, flags last.

    Raises TadropError for the first word that is wrong.
    """
    arguments = get_args_parser().parse_intermixed_args(list(words))
    said = vars(arguments)
    settings = list(arguments.overrides)
    flags = _others(words, settings)
    asks = any(map(said.get, QUESTIONS))
    # Where nothing is set nothing is misspelt; a run checks what its files say anyway.
    if not settings or asks or arguments.config_path or arguments.config_name:
        return [*settings, *flags]
    from tadrop.app.schema.composing import checked

    folder = arguments.config_dir
    right = checked(settings, name, bool(arguments.multirun), folder=folder)
    return [*right, *flags]


def _others(words: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The words that are no settings, in their order: flags and their values."""
    left = list(settings)
    others: list[str] = []
    for word in words:
        if word in left:
            left.remove(word)
        else:
            others.append(word)
    return others
