"""What runs would download: each checkpoint and data set that is not on this machine,
with its bytes.

The hub tells them where it can be reached. Else a table that comes with the project has
those of well-known checkpoints, and its date; others are not known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml

from tadrop.app.places import PACKAGE
from tadrop.app.runs import build
from tadrop.errors import AbsentError, TadropError
from tadrop.models.model import Model
from tadrop.storage import hub
from tadrop.storage.checkpoint import Checkpoint

TABLE = PACKAGE / "assets" / "sizes.yaml"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Item:
    """A checkpoint or data set that runs read.

    what:  base, or a task
    bytes: those on the disk, or those to download; None where nobody knows
    told:  what is wrong with it; empty for what is here
    kind, reference: models or datasets, and org/name, of what the hub has
    """

    what: str
    bytes: int | None = None
    told: str = ""
    kind: str = ""
    reference: str = ""

    @property
    def is_here(self) -> bool:
        return not self.told

    def line(self) -> str:
        """The item as the report shows it."""
        if not self.reference:
            return f"  {'':>9}  {self.told}"
        name = (
            f"data set {self.reference}" if self.kind == "datasets" else self.reference
        )
        return f"  {size(self.bytes):>9}  {name} ({self.what})"


def items(config: Mapping[str, Any]) -> list[Item]:
    """The base, the experts and the data sets of a suite. Nothing is downloaded."""
    tasks = build.tasks(config["tasks"])
    model = build.model(config["model"]).bound(tasks)
    with hub.only_looking():
        found = [_checkpoint(model, task) for task in (None, *tasks.names)]
        needs = tasks.needs()
    for need in needs:
        reference = need.data if need.is_on_hub else ""
        weight = bytes_of("datasets", reference, need.files) if reference else None
        what = f"{need.task}: {need.files}" if need.files else need.task
        found.append(Item(what, weight, str(need), "datasets", reference))
    lacking = {need.task for need in needs}
    found += [Item(task) for task in tasks.names if task not in lacking]
    return found


def _checkpoint(model: Model, task: str | None) -> Item:
    what = task or "base"
    try:
        opened = model.open_base() if task is None else model.open_expert(task)
    except TadropError as error:
        return _absent(what, error)
    return Item(what, _on_disk(opened))


def _absent(what: str, error: TadropError) -> Item:
    """A checkpoint that could not be opened, by its place on the hub if it has one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AbsentError):
        cause = cause.__cause__
    if cause is None:
        return Item(what, None, str(error))
    name = "/".join(cause.reference.split("/")[:2])
    inside = cause.reference.removeprefix(name).strip("/")
    weight = bytes_of(cause.kind, name, inside)
    return Item(what, weight, str(error), cause.kind, cause.reference)


def _on_disk(opened: Checkpoint) -> int:
    return sum(file.stat().st_size for file in opened.files)


def bytes_of(kind: str, name: str, files: str) -> int | None:
    """The bytes of what would be downloaded of a repository; None where nobody knows.

    files: a path in it, a pattern, or words about files
    """
    if not hub.unanswered():
        return _asked(kind, name, files)
    for pattern, weight in table()[kind].items():
        if fnmatchcase(name, pattern):
            return weight
    return None


@cache
def table() -> Mapping[str, Any]:
    """The table that comes with the project."""
    node = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {"datasets": {}, **node}


def _asked(kind: str, name: str, files: str) -> int | None:
    """What the hub says of its files' sizes."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(name, repo_type=kind[:-1], files_metadata=True)
    # Each HTTP client has exceptions of its own, which all mean the same here.
    except Exception:
        return None
    files_there = getattr(info, "siblings", None) or ()
    sizes = {file.rfilename: file.size or 0 for file in files_there}
    return sum(_wanted(kind, files, sizes))


def _wanted(kind: str, files: str, sizes: Mapping[str, int]) -> Iterator[int]:
    """The sizes of the files that a run reads."""
    patterns: Sequence[str] = [files]
    if kind == "models" and not files:
        patterns = WEIGHTS[:1]
        if not any(fnmatchcase(name, WEIGHTS[0]) for name in sizes):
            patterns = WEIGHTS[1:]
    elif kind == "datasets" and "*" not in files:
        patterns = ("*test*.parquet", "*test*.tar")
    for name, weight in sizes.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            yield weight


def report(found: Sequence[Item]) -> list[str]:
    """What is at hand and what is not, in lines."""
    here = [item for item in found if item.is_here]
    lacking = [item for item in found if not item.is_here]
    lines: list[str] = []
    if here:
        on_disk = size(sum(item.bytes or 0 for item in here))
        lines.append(f"at hand: {len(here)} of {len(found)}, checkpoints of {on_disk}")
    if not lacking:
        return [*lines, "checkpoints and data: all at hand, nothing to download"]
    lines += [_total(lacking), *dict.fromkeys(item.line() for item in lacking)]
    if any(item.reference for item in lacking):
        lines.append(_source())
    return lines


def _total(lacking: Sequence[Item]) -> str:
    known = [item.bytes for item in lacking if item.bytes is not None]
    line = f"to provide or download: {len(lacking)}"
    if known:
        line += f"; {size(sum(known))} for {len(known)} of them"
    unknown = len(lacking) - len(known)
    return line + (f", and {unknown} of unknown size" if unknown and known else "")


def _source() -> str:
    """Where the sizes are from, and how to provide what is not here."""
    reason = hub.unanswered()
    source = "sizes as the hub says"
    if reason:
        source = f"sizes of {table()['date']} ({TABLE.name}), as the hub cannot be asked ({reason})"
    return (
        f"{source}. Without a network put them at DIR/models/ORG/NAME and "
        "DIR/datasets/ORG/NAME, and set paths.hub=DIR"
    )


def size(count: int | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
