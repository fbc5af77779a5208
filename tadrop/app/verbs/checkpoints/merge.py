"""Merges checkpoints on disk, or of the hub, into a folder that loads like them."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from omegaconf import DictConfig

from tadrop.app.merging import arguments, card, spellings
from tadrop.app.merging.recipes.whereabouts import told_in_rules, told_where
from tadrop.app.merging.request import Request
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.terminal.loading import loading
from tadrop.app.terminal.stopping import nothing_goes_on


def main(words: Sequence[str] | None = None) -> None:
    """Merges what the command line names."""
    nothing_goes_on()
    reader = arguments.parser()
    options = reader.parse_args(words)
    if options.list:
        from tadrop.app.merging.listing import listing

        sys.stdout.write(listing())
        return
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    is_recipe = options.recipe is not None
    with told_in_one_line(spellings.of(is_recipe)):
        from tadrop.app.merging.inputs import configured

        request = arguments.request(reader, options)
        with _told_in_file(options):
            cfg = configured(request)
            if options.dry_run:
                with loading():
                    from tadrop.app.merging.planning import tell

                tell(request, cfg)
                return
            _merge(request, cfg, options)


def _told_in_file(options: Namespace) -> AbstractContextManager[None]:
    """Names the line of a recipe, or of a file of rules, that a mistake stands in."""
    if options.recipe is not None:
        return told_where(options.recipe)
    if options.rules is None:
        return nullcontext()
    said: list[str] = []
    for word in ("weight", "density", "t"):
        if vars(options)[word] is not None:
            said.append(word)
    return told_in_rules(options.rules, said)


def _merge(request: Request, cfg: DictConfig, options: Namespace) -> None:
    if options.push:
        card.check_repository(options.push)
    with loading():
        from tadrop.app.merging import checking, pushing
        from tadrop.app.merging.running import run
        from tadrop.app.showing import show_written

    written = run(request, cfg)
    show_written(written)
    if options.verify:
        checking.verify(request, written)
    if options.push:
        pushing.push(written.path, options.push, options.public)


if __name__ == "__main__":
    main()
