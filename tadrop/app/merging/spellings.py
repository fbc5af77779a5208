"""What messages call a setting, and how it is said to `tadrop merge`.

The parts below this command speak of keys of `tadrop run`. Whoever typed options reads
options, and whoever wrote a recipe its words. Patterns are tried in their order.
"""

from collections.abc import Mapping

COMMON = {
    # `scale=abc: scale is a number` says its key once.
    r"\b([\w.]+)=(.*?): \1 is ": r"\1=\2: it is ",
    r" \(model\.\w+=[^)]*\)": "",  # the same in words of `tadrop run`
    r"choose one with tadrop convert --key NAME": "choose one with --key NAME",
    r"it needs evaluate=true": "it runs with `tadrop run` alone",
    r"merges 2 models, and there are 1$": (
        "merges 2 models, and there is one expert; to merge it with BASE: --no-base"
    ),
    r"say tadrop=off, or before=": "leave --tadrop out, or say before=",
    r"say tadrop=on\b": "say --tadrop",
    r"\boverwrite=true\b": "--overwrite",
    r"\bexport\.dir\b": "-o",
    r"python run\.py --help lists": "tadrop merge --list lists",
}
OPTIONS = {
    **COMMON,
    r"\bsay before=": "say --set before=",
    r"\bexport\.dtype=": "--dtype ",
    r"\bexport\.shard_size=": "--shard-size ",
    r"\bexport\.expand=true\b": "--expand",
    r"\bmodel\.private=": "--private ",
    r"\bmodel\.key=": "--key ",
    r"\bmodel\.private\b": "--private",
    r"\bmodel\.weights\b": "--weight",
    r"\bmodel\.density\b": "--density",
    r"\bmodel\.t\b": "--t",
    r"\bmerge\.scale=": "--scale ",
    r"\bseed=": "--seed ",
    r"\brename\.([^:]+): (?=\S+=)": r"--rename \1:",
    r"\brename\.([^:]+):": r"--rename \1:",
    r"\bchat_template=": "--chat-template ",
    r"\bkeep_base (?=\S+: no tensor)": "--keep-base ",
    r"\btokenizer is '([^']*)';": r"--tokenizer \1:",
    r"\bmerge=(\w+): conf/merge has no such file": r"--method \1: there is no such method",
    r"\bmerge=(?=\w)": "--method ",
}
RECIPES = {
    **COMMON,
    r"--expand\b": "expand: true",
    r"say --tadrop\b": "say tadrop: true",
    r"leave --tadrop out\b": "say tadrop: false",
    r"\bexport\.(\w+)=": r"\1: ",
    r"\bmodel\.(\w+)=": r"\1: ",
    r"\bmodel\.(\w+)\b": r"\1",
    r"\bmerge\.scale=": "scale: ",
    r"\bmerge=(\w+): conf/merge has no such file": r"method \1: there is no such method",
    r"\bmerge=(?=\w)": "method ",
    r"--(private|tokenizer|rename)(?= )": r"\1:",
    r"--keep-base(?= )": "keep_base:",
    r"--chat-template(?= )": "chat_template:",
    r"--force\b": "force: true",
    r"--round-base\b": "round_base: true",
}


def of(is_recipe: bool) -> Mapping[str, str]:
    """The spellings for who wrote a recipe, or typed options."""
    return RECIPES if is_recipe else OPTIONS
