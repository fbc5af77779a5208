"""The arguments of `tadrop merge`, read into a request."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tadrop.app.merging.recipes.document import read_document
from tadrop.app.merging.recipes.recipe import read_recipe
from tadrop.app.merging.request import Request
from tadrop.errors import TadropError

ABOUT = """Merges checkpoints on disk, or of the hub, into a folder that loads like them.

    tadrop merge BASE EXPERT [EXPERT ...] --method ties --tadrop -o OUT
    tadrop merge --no-base MODEL MODEL [...] --method average -o OUT
    tadrop merge --recipe FILE.yaml -o OUT

BASE and EXPERT are folders or files (safetensors or torch, whole or in shards), LoRA
folders (experts), or ORG/NAME[@REVISION] of the hub, whose cache is asked first. An
expert is called what its folder is called; NAME=PATH calls it otherwise. TADrop is on
only with --tadrop.
"""
END = """Exit codes: 0 done, 1 refused or failed (one line says why), 2 wrong arguments,
130 stopped with Ctrl-C, 143 stopped by the system. Nothing half-written is left in OUT.
docs/ten-checkpoints.md leads through a whole merge.
"""
# Options that a recipe has in itself: beside one they would change nothing.
SAID_BY_RECIPES = (
    *("no_base", "method", "tadrop", "scale", "set", "weight", "density", "rules", "t"),
    *("seed", "private", "keep_base", "tokenizer", "force", "round_base", "bn"),
    *("chat_template", "rename", "key", "dtype", "shard_size", "expand"),
)


def parser() -> argparse.ArgumentParser:
    """All arguments of the command."""
    read = argparse.ArgumentParser(
        usage="tadrop merge BASE EXPERT [EXPERT ...] -o OUT [options]; -h lists them",
        description=ABOUT,
        epilog=END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = read.add_argument
    add("models", nargs="*", metavar="BASE EXPERT", help="the base, then the experts")
    add("-o", "--out", metavar="OUT", help="the folder to write")
    add("--no-base", action="store_true", help="all models are experts")
    add("--list", action="store_true", help="the methods and what each needs")
    add("--recipe", type=Path, metavar="FILE", help="of this suite, or mergekit's YAML")
    _method(read.add_argument_group("the method"))
    _inputs(read.add_argument_group("what goes in"))
    _outputs(read.add_argument_group("what comes out"))
    return read


def _method(group: Any) -> None:
    add = group.add_argument
    add("-m", "--method", default="task_arithmetic", metavar="NAME", help="see --list")
    add(
        "--tadrop", action="store_true", help="TADrop in the place of the row's own cut"
    )
    add(
        "--scale",
        "--lambda",
        type=float,
        metavar="X",
        help="factor of the merged delta",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any knob of the method, such as keep=0.3 or tadrop.q_lo=0.5; repeatable",
    )
    values = "0.3,0.7 in the order of experts, or NAME=0.3,...; 0.2:0.8 is a gradient"
    add("--weight", metavar="VALUES", help=f"how much each expert counts: {values}")
    add("--density", metavar="VALUES", help="what each expert's cut keeps, likewise")
    add(
        "--t",
        metavar="VALUE",
        help="of slerp: 0 the first model, 1 the second; 0.2:0.8",
    )
    add(
        "--rules",
        type=Path,
        metavar="FILE",
        help="YAML: weight or density -> NAME -> number, gradient, or a list of "
        "{tensors: PATTERN, value: ...}; t -> the same",
    )
    add("--seed", type=int, metavar="N", help="of what is random (DARE, DELLA)")


def _inputs(group: Any) -> None:
    add = group.add_argument
    many = {"nargs": "+", "default": [], "metavar": "PATTERN"}
    add("--private", **many, help="tensors that stay each expert's own (heads)")
    add("--keep-base", **many, help="tensors that are the base's")
    add(
        "--rename",
        action="append",
        default=[],
        metavar="NAME:REGEX=REPLACEMENT",
        help="an expert's tensors, where more than a prefix differs; repeatable",
    )
    add("--tokenizer", metavar="WHOSE", help="base, union or an expert's name")
    add("--chat-template", metavar="WHOSE", help="base, a name, auto, or a file")
    add("--force", action="store_true", help="merge though configurations differ")
    add(
        "--round-base",
        action="store_true",
        help="compare experts of fewer bits with the base rounded as they are",
    )
    add("--bn", choices=("mean", "base"), default="mean", help="running statistics")
    add("--key", metavar="NAME", help="of .pt files: the entry to take of several")
    add("--offline", action="store_true", help="ask the hub's cache alone")


def _outputs(group: Any) -> None:
    add = group.add_argument
    add("--dtype", choices=("fp32", "fp16", "bf16"), help="else the base's")
    add("--shard-size", "--max-shard-size", default="5GB", metavar="SIZE", help="5GB")
    add("--expand", action="store_true", help="also OUT/NAME, a checkpoint per expert")
    add("--overwrite", action="store_true", help="replace an OUT that a merge wrote")
    add("--dry-run", action="store_true", help="say what would be done, write nothing")
    add(
        "--verify", action="store_true", help="read OUT back and merge again to compare"
    )
    add("--push", metavar="ORG/NAME", help="upload OUT to the hub when it is written")
    add("--public", action="store_true", help="with --push: a public repository")


def request(read: argparse.ArgumentParser, options: argparse.Namespace) -> Request:
    """What the arguments ask for.
    Ends the command with code 2 where they do not fit.
    """
    out = options.out
    if options.public and not options.push:
        read.error("--public is of --push ORG/NAME, which is not said")
    if not options.recipe and not options.models:
        read.error("name a BASE and its EXPERTs, or a --recipe; and -o OUT")
    if not out and not (out is None and options.dry_run):
        read.error("say where to write: -o OUT")
    out = out or "OUT"
    if options.recipe is not None:
        if options.models:
            read.error("--recipe names the models; give none beside it")
        for word in SAID_BY_RECIPES:
            if vars(options)[word] != read.get_default(word):
                option = f"--{word.replace('_', '-')}"
                read.error(f"{option} stands in the recipe's file; it is not read here")
        return replace(read_recipe(options.recipe, out), overwrite=options.overwrite)
    models = list(options.models)
    base = None if options.no_base or not models else models.pop(0)
    if not models:
        read.error("name a BASE and at least one EXPERT (or --no-base and the models)")
    settings = list(options.set)
    if options.seed is not None:
        settings.append(f"seed={options.seed}")
    return Request(
        base=base,
        experts=models,
        out=out,
        method=options.method,
        tadrop=options.tadrop,
        scale=options.scale,
        settings=settings,
        model=_family(options, models),
        dtype=options.dtype,
        expand=options.expand,
        shard_size=options.shard_size,
        overwrite=options.overwrite,
    )


def _family(options: argparse.Namespace, experts: Sequence[str]) -> dict[str, Any]:
    """What the arguments say of the models, in the words of `model=local`."""
    both = sorted(set(options.private) & set(options.keep_base))
    if both:
        raise TadropError(
            f"{both[0]} is --private, each expert's own, and --keep-base, the base's; "
            "it can be one of them"
        )
    family: dict[str, Any] = {
        "private": options.private,
        "keep_base": options.keep_base,
        "tokenizer": options.tokenizer,
        "statistics": options.bn,
        "round_base": options.round_base,
        "force": options.force,
        "chat_template": options.chat_template,
        "rename": _renames(options.rename),
        "key": options.key,
        **_counts(options, experts),
    }
    if options.bn == "mean":
        del family["statistics"]
    return family


def _counts(options: argparse.Namespace, experts: Sequence[str]) -> dict[str, Any]:
    """Weights and densities by expert, those of the rules first; t by tensor."""
    rules = {} if options.rules is None else _rules(options.rules)
    counts: dict[str, Any] = {}
    t = rules.pop("t", None) if options.t is None else _value("--t", options.t)
    if t is not None:
        counts["t"] = t
    for word, key in (("weight", "weights"), ("density", "density")):
        given = vars(options)[word]
        common = {} if given is None else by_expert(f"--{word}", given, experts)
        told = set(rules.get(word, {})) & set(common)
        # One number for all is what the rules leave open.
        if told and re.search("[,=]", given or ""):
            raise TadropError(
                f"--{word} and --rules both say it of {', '.join(sorted(told))}; say it "
                "once"
            )
        if given is not None or word in rules:
            counts[key] = {**common, **rules.get(word, {})}
    return counts


def _renames(words: Sequence[str]) -> dict[str, dict[str, str]]:
    """{expert: {regex: replacement}} of `NAME:REGEX=REPLACEMENT`, in their order."""
    rules: dict[str, dict[str, str]] = {}
    for word in words:
        name, colon, rule = word.partition(":")
        pattern, equals, replacement = rule.rpartition("=")
        if not (name and colon and pattern and equals):
            raise TadropError(f"--rename {word}: it is NAME:REGEX=REPLACEMENT")
        rules.setdefault(name, {})[pattern] = replacement
    return rules


def _rules(file: Path) -> dict[str, Any]:
    """A file of rules, {weight or density: {expert: rule}, t: rule}.

    Raises TadropError for anything else.
    """
    document = read_document(file, "file of rules")
    content = document.content or {}
    if not isinstance(content, Mapping):
        raise TadropError(f"{file}: it is a mapping: weight, density, t")
    rules: dict[str, Any] = {}
    for word, node in content.items():
        place = document.at(str(word))
        if word == "t":
            rules[word] = node
            continue
        if word not in ("weight", "density"):
            raise TadropError(f"{place}: {str(word)!r} is not weight, density or t")
        if not isinstance(node or {}, Mapping):
            raise TadropError(
                f"{place}: {word} is a mapping from experts' names to rules"
            )
        # YAML reads a folder called 7 as a number.
        rules[word] = {str(name): rule for name, rule in (node or {}).items()}
    return rules


def by_expert(what: str, text: str, words: Sequence[str]) -> dict[str, Any]:
    """`0.3,0.7`, `NAME=0.3,NAME=0.7` or one number for all, by the experts' names."""
    from tadrop.checkpoints.words import places

    names = list(places(words))
    parts = text.split(",")
    values: dict[str, Any] = {}
    if all("=" in part for part in parts):
        for part in parts:
            name, _, value = part.rpartition("=")
            if name in values:
                raise TadropError(f"{what} {text}: {name} has two values")
            values[name] = _value(what, value)
        return values
    numbers: list[float | list[float]] = []
    for part in parts:
        numbers.append(_value(what, part))
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise TadropError(
            f"{what} {text}: {len(numbers)} values for {len(names)} experts "
            f"({', '.join(names)})"
        )
    return dict(zip(names, numbers, strict=True))


def _value(what: str, text: str) -> float | list[float]:
    """A number, or a gradient: numbers with colons between."""
    try:
        numbers: list[float] = []
        for part in text.split(":"):
            numbers.append(float(part))
    except ValueError as error:
        raise TadropError(f"{what}: {text!r} is no number") from error
    return numbers[0] if len(numbers) == 1 else numbers
