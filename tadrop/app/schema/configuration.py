"""The words of conf/config.yaml and conf/finetune.yaml, and what each may be.

The schema is pydantic's: unlike Hydra's structured configurations it knows ranges and
choices, and leaves the composition of YAML files as it is.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict

SIZE = re.compile(r"\d+(\.\d+)?\s*(B|KB|MB|GB|TB)", re.IGNORECASE)
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def _distinct(words: list[str]) -> list[str]:
    """A list that names something, each once."""
    if not words:
        raise ValueError("at least one")
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"each one once, and {word} stands there twice")
    return words


def _device(word: str) -> str:
    if not DEVICE.fullmatch(word):
        raise ValueError("auto, cpu, cuda or cuda:N")
    return word


def _folder(path: str) -> str:
    """A path where a folder is, or can be made."""
    place = Path(path).expanduser()
    if not path.strip() or "\0" in path:
        raise ValueError("a path")
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ValueError(f"a folder, and {place} is a file")
    return path


def _size(text: str) -> str:
    """A number of bytes with a decimal unit."""
    if not SIZE.fullmatch(text):
        raise ValueError("a size such as 5GB")
    return text


def _written(path: str) -> str:
    """A folder that can be written to."""
    place = Path(_folder(path)).expanduser()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise ValueError(f"a folder to write to, and {place} cannot be written to")
    return path


Word = Annotated[str, "a word", MinLen(1)]
Names = Annotated[list[Word], AfterValidator(_distinct)]
Folder = Annotated[str, "a path", AfterValidator(_folder)]
Output = Annotated[str, "a path", AfterValidator(_written)]
Seed = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Device = Annotated[str, "auto, cpu, cuda or cuda:N", AfterValidator(_device)]
Split = Literal["train", "validation", "test"]
Step = Literal["search", "tadrop", "sparsify"]
Node = dict[str, Any]
Data = Literal[
    "none",
    "validation labels",
    "training inputs",
    "training labels",
    "test inputs",
]


class Words(BaseModel):
    """Words that stand together; another one is a mistake."""

    # Only the fields are read, each checked alone: no validator of the whole is built.
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Export(Words):
    """What is written beside the record."""

    dir: Output | None
    dtype: Literal["fp32", "fp16", "bf16"] | None = None
    expand: bool = False
    shard_size: Annotated[str, "a size such as 5GB", AfterValidator(_size)] = "5GB"


class Paths(Words):
    """Where things lie."""

    results: Folder
    records: Folder
    cache: Folder
    hub: Folder | None
    experts: Folder


class Row(Words):
    """A merge row: conf/merge/*.yaml."""

    name: Word
    title: Word
    paper: Word | None
    data: Data
    method: Node
    scale: float
    scale_grid: Annotated[list[float], "a list of numbers", MinLen(1)]
    search: Node | None = None
    statistics: Node | None = None
    refine: Node | None = None
    arriving: Node | None = None
    knobs: Node = {}
    tune: Node = {}
    models: Count | None = None
    baseless: bool = False
    packaging: Literal["split", "fused"] = "split"
    boards: list[Word] = []
    cost: Literal["seconds", "minutes", "hours"] = "seconds"
    exceptions: Node = {}


class Run(Words):
    """A run: conf/config.yaml."""

    seed: Seed
    select: Literal["fixed", "grid"]
    before: Annotated[list[Step], AfterValidator(_distinct)] | None
    tuned: Word | None
    split: Split
    limit: Count | None
    device: Device
    dtype: Literal["float32", "bfloat16"]
    overwrite: bool
    dry_run: bool
    evaluate: bool
    pack: bool
    arrival: bool
    export: Export
    paths: Paths
    tasks: Node
    model: Node
    sparsify: Node | None
    merge: Row
    tadrop: Node | None
    tracker: Node | None
    references: dict[str, Any]
    board: Any = None


class FinetunePaths(Words):
    """Where things lie, for fine-tuning."""

    cache: Folder
    hub: Folder | None
    experts: Folder


class Finetune(Words):
    """Fine-tuning: conf/finetune.yaml."""

    task: Word | None
    seed: Seed
    device: Device
    limit: Count | None
    save_every: Count
    paths: FinetunePaths
    tasks: Node
    model: Node
    recipe: Node


SCHEMAS: dict[str, type[Words]] = {"config": Run, "finetune": Finetune}
# What takes the words of a node that names no target of its own.
TARGETS = {"recipe": "tadrop.evaluation.finetuning.FinetuneRecipe"}
# Stable words that stand in a node beside what its target takes; records are named by
# them. tadrop/app/runs/build.py leaves them out.
STABLE = {
    "model": ("packagings",),
    "sparsify": ("name",),
    "tasks": ("name", "family", "home"),
}
# What a file says of itself: not set by a command, as records would tell lies.
DESCRIPTIVE = {
    "merge": (
        "name",
        "title",
        "paper",
        "data",
        "models",
        "arriving",
        "baseless",
        "packaging",
        "boards",
        "cost",
        "exceptions",
    ),
    "model": ("packagings",),
    "sparsify": ("name",),
    "tasks": ("name", "family", "home"),
}
# Mappings with names of the user's own: tasks, and where a task's model or data lies.
OPEN = ("entries", "variants", "experts", "sources", "weights", "density")
# Settings of more than one target, which mean the same in each.
EVERYWHERE: dict[str, Any] = {"tasks.names": Names}
# Words that mean the same wherever they stand, and the least that such a number is.
LEAST = {
    "batch": Ge(1),
    "epochs": Ge(1),
    "evaluations": Ge(1),
    "examples": Ge(1),
    "longest": Ge(1),
    "max_length": Ge(1),
    "rate": Gt(0),
    "seed": Ge(0),
    "sigma": Gt(0),
    "size": Ge(1),
    "steps": Ge(0),
    "training_seed": Ge(0),
    "warmup": Ge(0),
}


def settable(parent: str, names: Sequence[str]) -> list[str]:
    """Those of a node's words that a command may set, as dotted keys."""
    hidden = DESCRIPTIVE.get(parent, ())
    keys = []
    for name in names:
        if name not in hidden and not name.startswith("_"):
            keys.append(f"{parent}.{name}" if parent else name)
    return keys
