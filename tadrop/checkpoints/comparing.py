"""A base and its experts side by side: settings,
files and code that differ or repeat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tadrop.checkpoints.configs import differences, doubts
from tadrop.checkpoints.opening import Input
from tadrop.merging.modules import WEIGHTS, folders_of, modules
from tadrop.types import TadropError

FORCE = "if the base's settings are meant for all, say --force (model.force=true)"
SIZES = ("hidden_size", "d_model", "n_embd", "num_hidden_layers", "n_layer")
CHUNK = 1 << 20  # bytes of two files that are compared at a time

Inputs = Mapping[str, Input]


@dataclass
class Settings:
    """What config.json of the experts says otherwise than the base's.

    notes:     lines to tell
    strangers: what is wrong with experts of another architecture
    """

    notes: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def check_strangers(self) -> None:
        """Raises TadropError for another architecture, though every tensor fits."""
        if self.strangers:
            raise TadropError(f"{' and '.join(self.strangers)}; {FORCE}")


def settings(base: Input, experts: Inputs, force: bool) -> Settings:
    """Compares config.json. Raises TadropError for another function than the base's.

    force: whether that may be merged, with a note
    """
    found = Settings()
    wrong: list[str] = []
    for name, one in experts.items():
        if unlike := differences(base.config, one.config):
            told = f"{name} computes otherwise than the base ({'; '.join(unlike)})"
            same = one.config.get("model_type") == base.config.get("model_type")
            (wrong if same or force else found.strangers).append(told)
        if doubt := doubts(base.config, one.config):
            found.notes.append(
                f"{name}: config.json has {'; '.join(doubt)}; the base's is taken"
            )
    if wrong and not force and not _sizes_differ(base, experts):
        raise TadropError(f"{' and '.join(wrong)}; {FORCE}")
    if force:
        found.notes += [f"{told}; merged as forced" for told in wrong]
    return found


def _sizes_differ(base: Input, experts: Inputs) -> bool:
    """Whether a model is of another size, which is told by its tensors' shapes."""
    for one in experts.values():
        for key in SIZES:
            known = key in base.config and key in one.config
            if known and base.config[key] != one.config[key]:
                return True
    return False


def repeated(base: Input | None, experts: Inputs) -> list[str]:
    """A line for every expert that is the base, or another expert, by its files.

    base: None where there is none
    """
    notes: list[str] = []
    before: dict[str, Input] = {} if base is None else {"the base": base}
    for name, one in experts.items():
        for other, there in before.items():
            if _same_files(one.checkpoint.files, there.checkpoint.files):
                what = "no task vector" if there is base else "which count twice"
                notes.append(f"{name} is {other}: the same files, {what}")
                break
        before[name] = one
    return notes


def _same_files(ours: Sequence[Path], theirs: Sequence[Path]) -> bool:
    """Whether two models have the same bytes; read only as far as they are equal."""
    if len(ours) != len(theirs):
        return False
    return all(map(_same_bytes, sorted(ours), sorted(theirs)))


def _same_bytes(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as ours, other.open("rb") as theirs:
        while piece := ours.read(CHUNK):
            if piece != theirs.read(CHUNK):
                return False
    return True


def beside(base: Input, experts: Inputs) -> list[str]:
    """A line for what is copied from the base and is not the same in all experts.

    Programs, and weights in folders that sentence-transformers does not name itself; and
    the configuration, where experts have one and the base has none.
    """
    notes: list[str] = []
    configured = [name for name, one in experts.items() if one.config]
    if configured and not base.config:
        notes.append(
            f"the base has no config.json, and so OUT has none; {configured[0]} has one"
        )
    for file in sorted(base.folder.glob("*.py")):
        if unlike := _unlike(base, experts, file):
            notes.append(
                f"{file.name} is not the same in {unlike}: the base's is copied"
            )
    merged = folders_of(base.checkpoint.tensors)
    for folder in modules(base.folder):
        for name in () if folder in merged else WEIGHTS:
            if unlike := _unlike(base, experts, base.folder / folder / name):
                notes.append(
                    f"{folder}/{name} is not the same in {unlike}: these weights are "
                    "copied from the base and not merged"
                )
    return notes


def _unlike(base: Input, experts: Inputs, file: Path) -> str:
    """The experts that have another file of this name, as one text."""
    unlike: list[str] = []
    for name, one in experts.items():
        other = one.folder / file.relative_to(base.folder)
        both = file.is_file() and other.is_file()
        if both and not _same_bytes(file, other):
            unlike.append(name)
    return ", ".join(unlike)
