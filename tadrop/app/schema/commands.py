"""The words of a command that Hydra runs, checked before Hydra sees them."""

from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

# Flags after which nothing is run, so that nothing is checked: they are questions.
QUESTIONS = ("help", "hydra_help", "version", "shell_completion", "info")


def spelled(words: Sequence[str], name: str = "config") -> list[str]:
    """The words of a command line as Hydra takes them, flags with them.

    Raises TadropError for the first word that is wrong.
    """
    from tadrop.app.schema.composing import checked

    arguments = get_args_parser().parse_args(list(words))
    said = vars(arguments)
    asks = any(said.get(question) for question in QUESTIONS)
    if asks or arguments.config_path or arguments.config_name:
        return list(words)
    settings = list(arguments.overrides)
    right = checked(
        settings, name, bool(arguments.multirun), folder=arguments.config_dir
    )
    replaced = dict(zip(settings, right, strict=True))
    return [replaced.get(word, word) for word in words]
