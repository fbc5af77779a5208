"""Merges checkpoints on disk, or of the hub, into a folder that loads like them."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from tadrop.app.merging import arguments, spellings
from tadrop.app.merging.recipes.whereabouts import told_where
from tadrop.app.mistakes import told_in_one_line
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
        request = arguments.request(reader, options)
        with told_where(options.recipe) if is_recipe else nullcontext():
            if options.dry_run:
                from tadrop.app.merging.planning import tell

                tell(request)
                return
            _merge(request, options)


def _merge(request: arguments.Request, options: object) -> None:
    from tadrop.app.merging import card, checking, pushing
    from tadrop.app.merging.running import run
    from tadrop.app.showing import show_written

    said = vars(options)
    if said["push"]:
        card.check_repository(said["push"])
    written = run(request)
    show_written(written)
    if said["verify"]:
        checking.verify(request, written)
    if said["push"]:
        pushing.push(written.path, said["push"], said["public"])


if __name__ == "__main__":
    main()
