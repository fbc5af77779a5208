"""Merges checkpoints on disk, or of the hub, into a folder that loads like them."""

import os
import sys
from collections.abc import Sequence

from tadrop.app.merging import arguments
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.terminal.stopping import nothing_goes_on

# How this command spells the settings that messages name.
SPELLINGS = {
    r" \(model\.\w+=[^)]*\)": "",  # the same in words of `tadrop run`
    r"\bexport\.dir\b": "-o",
    r"\bexport\.dtype=": "--dtype ",
    r"\bexport\.shard_size=": "--shard-size ",
    r"\bexport\.expand=true\b": "--expand",
    r"\boverwrite=true\b": "--overwrite",
    r"\bmodel\.private=": "--private ",
    r"\bmerge\.scale=": "--scale ",
    r"\bseed=": "--seed ",
    r"\brename\.([^:]+): (?=\S+=)": r"--rename \1:",
    r"\brename\.([^:]+):": r"--rename \1:",
    r"\bchat_template=": "--chat-template ",
    r"nothing is drawn by merge=": "nothing is drawn by --method ",
    r"\bmodel\.t\b": "--t",
    r"\bmerge=(\w+) has no": r"--method \1 has no",
    r"\bmerge=(\w+): conf/merge has no such file": r"--method \1: there is no such method",
    r"python run\.py --help lists": "tadrop merge --list lists",
}


def main(words: Sequence[str] | None = None) -> None:
    """Merges what the command line names."""
    reader = arguments.parser()
    options = reader.parse_args(words)
    if options.list:
        from tadrop.app.merging.listing import listing

        sys.stdout.write(listing())
        return
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    nothing_goes_on()
    with told_in_one_line(SPELLINGS):
        request = arguments.request(reader, options)
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
