"""Image classification tasks: hub data sets, folders of images, and the registries that
describe them.

A registry (tadrop/assets/tasks/*.yaml) has one entry a task; `tasks.entries.NAME={...}`
adds one or changes one, and a name with a slash needs none: it is a data set's id. Data
come from DIR/datasets/org/name if paths.hub=DIR has it, else from the hub. Expected
class and example counts are checked: a wrong split or a cut is seen at once. limit=N is
a seeded sample of the whole split, which may be sorted by class: ten rows each from row
groups of its parquet files, in a seeded order. Only these groups are downloaded, about
N / 10 of the usual 100 to 1,000 rows. Other files, such as tar archives, are read from
end to end. Validation is a seeded tenth of train, at most 5,000. For checkpoints that
were trained on all of train (the hub's) it is training data: a scale chosen on it is
chosen on what the experts have seen.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics.seeds import generator
from tadrop.storage import hub as hubs
from tadrop.tasks.checks import check_limit, differing, not_at_hand, refuse
from tadrop.tasks.images import VERSION, Images, cached, open_images
from tadrop.types import TadropError

REGISTRIES = Path(__file__).parents[1] / "assets" / "tasks"
SPLITS = ("train", "validation", "test")
FOLDER_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
VALIDATION = {"fraction": 0.1, "most": 5000, "seed": 0}
# with a limit, so many rows are drawn from a row group before another one is read
PER_GROUP = 10


@dataclass(frozen=True)
class Entry:
    """One task's data and class names; see the head of assets/tasks/vision.yaml for the
    words.
    """

    id: str | None = None
    folder: str | None = None
    config: str | None = None
    revision: str | None = None
    hub: str = ""
    tall: str = ""
    image: str = "image"
    label: str = "label"
    splits: Mapping[str, str] = field(default_factory=dict)
    holdout: float = 0.2
    train: int | None = None
    test: int | None = None
    classes: Sequence[str] | None = None
    templates: Sequence[str] = ("a photo of a {}.",)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@lru_cache
def registry(name: str) -> dict[str, Any]:
    """The entries of a registry: one of ours, or a YAML file."""
    import yaml

    file = (
        Path(name) if name.endswith((".yaml", ".yml")) else REGISTRIES / f"{name}.yaml"
    )
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in REGISTRIES.glob("*.yaml")))
        raise TadropError(
            f"tasks.registry={name}: no such registry; there are {known}, or a YAML file of your own"
        )
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _entry(task: str, known: Mapping[str, Any], variants: Mapping[str, str]) -> Entry:
    if task not in known and "/" not in task:
        raise TadropError(
            f"no task is called {task!r}; there are {', '.join(known)}, or a data set's org/name"
        )
    node = dict(known.get(task, {"id": task}))
    if task in variants:
        choices = node.get("variants", {})
        if variants[task] not in choices:
            raise TadropError(
                f"task {task!r} has no variant {variants[task]!r}; it has {', '.join(choices) or 'none'}"
            )
        node.update(choices[variants[task]])
    allowed = {f.name for f in fields(Entry)}
    if unknown := sorted(set(node) - allowed):
        raise TadropError(
            f"task {task!r}: unknown key {unknown[0]!r}; an entry has {', '.join(sorted(allowed))}"
        )
    short = task.split("/")[-1]
    return Entry(**{"hub": short, "tall": short, **node})


@dataclass(frozen=True)
class VisionTasks:
    """Image tasks as the evaluator sees them.

    preprocess: size of the model's input, and how images get there
    strict:     whether expected counts must hold; variants: TASK: NAME for entries that have some
    limit:      only so many seeded examples of each split; what is read for them stands above
    """

    names: Sequence[str]
    registry: str
    preprocess: Mapping[str, Any]
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    strict: bool = True
    variants: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    hub_dir: str | None = None
    cache: str = ".cache"
    batch: int = 128
    metric: str = "accuracy"
    label: str = ""

    def __post_init__(self) -> None:
        check_limit(self.limit)
        known, extra = registry(self.registry), self.entries
        merged = {
            **known,
            **{name: {**known.get(name, {}), **entry} for name, entry in extra.items()},
        }
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(
            self,
            "_entries",
            {name: _entry(name, merged, self.variants) for name in self.names},
        )
        object.__setattr__(self, "_opened", {})

    @property
    def protocol(self) -> str:
        """What a number depends on beside the data: registry, variants, input, and
        counts that are not as expected.
        """
        variants = [f"{task} {name}" for task, name in self.variants.items()]
        odd = [fact for images in self._opened.values() for fact in images.facts["odd"]]
        size, resize = (
            self.preprocess["size"],
            self.preprocess.get("resize", "shortest"),
        )
        words = [
            self.label or self.registry,
            *variants,
            f"{size} px {resize}",
            *(["not strict", *odd] if odd else []),
        ]
        return ", ".join(words)

    def entry(self, task: str) -> Entry:
        return self._entries[task]

    def classes(self, task: str) -> tuple[str, ...]:
        """Class names in label order: the entry's, or the data's own where there are
        none or they are of a cut.
        """
        if self.strict and self.entry(task).classes:
            return tuple(self.entry(task).classes)
        return tuple(self.images(task, "test").facts["classes"])

    def published(self, source: str, model: str) -> dict[str, float]:
        """Reported accuracies in percent of a source's individual models, where they
        were measured on these data.
        """
        if self.registry not in ("vision", source):
            return {}
        found = registry("published").get(source, {})
        known, leaked, theirs = (
            found.get(model, {}),
            found.get("leaked", ()),
            found.get("variants", {}),
        )
        same = [
            task
            for task in self.names
            if self.variants.get(task) == theirs.get(task) and task not in leaked
        ]
        return {task: known[task] for task in same if task in known}

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(images uint8 [batch, size, size, 3], labels [batch]); the next batch is read
        while this one is used.
        """
        data = self.images(task, split)

        def read(at: int) -> tuple[Tensor, Tensor]:
            part = slice(at, at + self.batch)
            return torch.from_numpy(np.array(data.images[part])), torch.from_numpy(
                data.labels[part]
            )

        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(read, 0)
            for at in range(self.batch, len(data.labels) + self.batch, self.batch):
                ready = coming.result()
                coming = ahead.submit(read, at)
                yield ready

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's."""
        return outputs.argmax(1) == targets

    def measure(self, task: str, split: str, kept: Tensor) -> None:
        """The mean of what is graded is the metric."""

    def needs(self) -> list[str]:
        """The data sets and folders that are in no local folder, a line each."""
        references = {}
        for task in self.names:
            entry = self.entry(task)
            reference = entry.folder or entry.id
            if reference is not None:
                references[task] = reference
        return not_at_hand(references, self.hub_dir)

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of the pixels and labels, 16 hex digits."""
        return self.images(task, split).facts["fingerprint"]

    def images(self, task: str, split: str) -> Images:
        """A whole split: mapped pixels, labels, and what is known of them."""
        if split not in SPLITS:
            raise TadropError(
                f"split is {split!r}; it must be one of {', '.join(SPLITS)}"
            )
        if (task, split) not in self._opened:
            self._opened[task, split] = self._open(task, split)
        return self._opened[task, split]

    def _open(self, task: str, split: str) -> Images:
        source = source_of(task, self.entry(task), self.hub_dir)
        size, resize = (
            self.preprocess["size"],
            self.preprocess.get("resize", "shortest"),
        )
        words = [
            VERSION,
            vars(source),
            split,
            self.limit,
            size,
            resize,
            VALIDATION,
            PER_GROUP if self.limit else None,
        ]
        key = hashlib.sha256(
            json.dumps(words, sort_keys=True, default=str).encode()
        ).hexdigest()[:24]
        folder = Path(self.cache) / "images" / key
        if not (folder / "facts.json").exists():
            facts = {
                "source": source.place,
                "split": split,
                "names": source.class_names(),
            }
            cached(folder, lambda: source.rows(split, self.limit), size, resize, facts)
        return self._checked(task, split, open_images(folder))

    def _checked(self, task: str, split: str, data: Images) -> Images:
        """Adds the class names to use and what is not as expected. Raises TadropError
        for the latter if strict.
        """
        entry, names = self.entry(task), data.facts["names"]
        expected = (
            getattr(entry, split, None)
            if split != "train" and self.limit is None
            else None
        )
        odd = differing(task, {f"{split} examples": (data.facts["count"], expected)})
        classes = list(entry.classes) if entry.classes else names
        if classes is None:
            raise TadropError(
                f"task {task!r}: the data name no classes; give tasks.entries.{task}.classes=[...]"
            )
        if names is not None and len(names) != len(classes):
            odd += differing(task, {"classes": (len(names), len(classes))})
            classes = names
        refuse(data.facts["source"], odd, self.strict)
        if not len(data.labels):
            raise TadropError(f"{data.facts['source']}: split {split!r} is empty")
        if not 0 <= data.labels.min() <= data.labels.max() < len(classes):
            raise TadropError(
                f"{data.facts['source']}: label {data.labels.max()} of {len(classes)} classes"
            )
        return Images(
            data.images, data.labels, {**data.facts, "classes": classes, "odd": odd}
        )


@dataclass(frozen=True)
class HubSource:
    """A data set in a local folder of the hub's layout, or on the hub. stamp: changes
    when the data do.
    """

    place: str
    stamp: Any
    config: str | None
    revision: str | None
    image: str
    label: str
    splits: Mapping[str, str]

    def _name(self, split: str) -> str:
        """What the data set calls a split; validation is a part of train."""
        wanted = "train" if split == "validation" else split
        return self.splits.get(wanted, wanted)

    def _load(self, split: str) -> Any:
        from datasets import Image, load_dataset
        from datasets.utils.logging import disable_progress_bar

        disable_progress_bar()
        name = self._name(split)
        try:
            data = load_dataset(
                self.place,
                self.config,
                split=name,
                revision=self.revision,
                streaming=True,
            )
            for column in (self.image, self.label):
                if column not in (data.features or data._resolve_features().features):
                    raise TadropError(
                        f"{self.place}: no column {column!r}; it has {', '.join(data.features)}"
                    )
            return data.select_columns([self.image, self.label]).cast_column(
                self.image, Image(decode=False)
            )
        except TadropError:
            raise
        except (
            Exception
        ) as error:  # the library's zoo of exceptions; all mean the same to the user
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TadropError(
                f"{self.place}, split {name!r}: not a readable data set ({reason})"
            ) from error

    def class_names(self) -> list[str] | None:
        """The names of the label column, if it has them."""
        feature = self._load("test").features[self.label]
        return list(feature.names) if hasattr(feature, "names") else None

    def rows(self, split: str, limit: int | None) -> Iterator[tuple[bytes, int]]:
        """(encoded image, label): all, or a seeded sample of the split, for which only
        some row groups are read.
        """
        data = self._load(split)
        files = [] if limit is None else self._parquet(split)
        for row in (
            self._some(files, split, limit)
            if files
            else self._streamed(data, split, limit)
        ):
            encoded = row[self.image]
            yield (
                encoded["bytes"] or Path(encoded["path"]).read_bytes(),
                int(row[self.label]),
            )

    def _streamed(
        self, data: Any, split: str, limit: int | None
    ) -> Iterator[Mapping[str, Any]]:
        """The split from end to end."""
        if split == "test" and limit is None:
            yield from data
            return
        chosen = usable(sum(1 for _ in data.select_columns([self.label])), split)
        if limit is not None:
            chosen = chosen[sample(len(chosen), limit)]
        wanted = set(chosen.tolist())
        yield from (row for at, row in enumerate(data) if at in wanted)

    def _parquet(self, split: str) -> list[str]:
        """The split's files, if they are parquet."""
        from datasets import load_dataset_builder

        builder = load_dataset_builder(self.place, self.config, revision=self.revision)
        files = list((builder.config.data_files or {}).get(self._name(split), ()))
        return files if all(str(file).endswith(".parquet") for file in files) else []

    def _some(
        self, files: Sequence[str], split: str, limit: int
    ) -> Iterator[Mapping[str, Any]]:
        """A seeded sample: the rows that scattered() draws, of which only the row
        groups are read.
        """
        import fsspec
        from pyarrow.parquet import ParquetFile

        try:
            with ExitStack() as stack:
                opened = [
                    ParquetFile(stack.enter_context(fsspec.open(file, "rb")))
                    for file in files
                ]
                groups = [
                    (file, at) for file in opened for at in range(file.num_row_groups)
                ]
                sizes = [file.metadata.row_group(at).num_rows for file, at in groups]
                for place, rows in scattered(sizes, usable(sum(sizes), split), limit):
                    file, at = groups[place]
                    yield from (
                        file.read_row_group(at, [self.image, self.label])
                        .take(rows)
                        .to_pylist()
                    )
        except (OSError, ValueError) as error:  # pyarrow's are of these
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TadropError(
                f"{self.place}, split {split!r}: cannot be read ({reason})"
            ) from error


@dataclass(frozen=True)
class FolderSource:
    """Images in DIR/SPLIT/CLASS/*, or in DIR/CLASS/* with a seeded share of each class
    held out for test.
    """

    place: str
    stamp: Any
    splits: Mapping[str, str]
    holdout: float

    def class_names(self) -> list[str]:
        return sorted(
            path.name for path in self._folder("test").iterdir() if path.is_dir()
        )

    def _folder(self, split: str) -> Path:
        name = self.splits.get(
            "train" if split == "validation" else split,
            "train" if split == "validation" else split,
        )
        named = Path(self.place) / name
        return named if named.is_dir() else Path(self.place)

    def rows(self, split: str, limit: int | None) -> Iterator[tuple[bytes, int]]:
        folder, rows = self._folder(split), []
        for label, name in enumerate(self.class_names()):
            files = sorted(
                p
                for p in (folder / name).rglob("*")
                if p.suffix.lower() in FOLDER_SUFFIXES
            )
            if folder == Path(self.place):
                order = generator("holdout", name).permutation(len(files))
                test = set(order[: max(1, round(self.holdout * len(files)))].tolist())
                files = [
                    f for at, f in enumerate(files) if (at in test) == (split == "test")
                ]
            rows += [(file, label) for file in files]
        if split != "test":
            rows = [rows[at] for at in usable(len(rows), split)]
        if limit is not None:
            rows = [rows[at] for at in sample(len(rows), limit)]
        for file, label in rows:
            yield file.read_bytes(), label


def validation_indices(count: int) -> set[int]:
    """Which rows of train are for validation: a seeded tenth, at most 5,000."""
    size = min(round(VALIDATION["fraction"] * count), VALIDATION["most"])
    return set(
        generator("validation", VALIDATION["seed"]).permutation(count)[:size].tolist()
    )


def usable(count: int, split: str) -> np.ndarray:
    """The rows, ascending, of a source's train or test that are of the suite's split."""
    every = np.arange(count)
    if split == "test":
        return every
    held = np.isin(every, list(validation_indices(count)))
    return every[held == (split == "validation")]


def scattered(
    sizes: Sequence[int], rows: np.ndarray, limit: int
) -> list[tuple[int, list[int]]]:
    """A seeded sample of `limit` of these rows, as (group, rows in it), from as few
    groups as PER_GROUP allows.

    sizes: rows of each group. A larger limit takes the same rows and more.
    """
    ends = np.cumsum(sizes)
    rng, draws = generator("limit", VALIDATION["seed"], len(sizes)), []
    for turn, group in enumerate(rng.permutation(len(sizes)).tolist()):
        start = ends[group] - sizes[group]
        own = rng.permutation(rows[(rows >= start) & (rows < ends[group])] - start)
        draws += [
            (at // PER_GROUP, turn, at, group, int(row)) for at, row in enumerate(own)
        ]
    chosen: dict[int, list[int]] = {}
    for *_, group, row in sorted(draws)[:limit]:
        chosen.setdefault(group, []).append(row)
    return sorted(chosen.items())


def sample(count: int, limit: int) -> list[int]:
    """A seeded choice of `limit` rows."""
    return generator("limit", VALIDATION["seed"]).permutation(count)[:limit].tolist()


def source_of(task: str, entry: Entry, hub: str | None) -> HubSource | FolderSource:
    """Where a task's data are. Raises TadropError if they are nowhere."""
    if entry.folder:
        place = hubs.local("datasets", entry.folder, hub)
        if place is None:
            raise TadropError(
                f"task {task!r}: no folder {entry.folder}; set tasks.entries.{task}.folder=DIR"
            )
        return FolderSource(
            str(place), _stamp(place), dict(entry.splits), entry.holdout
        )
    if entry.id is None:
        raise TadropError(
            f"task {task!r} has no data set; set tasks.entries.{task}.id=ORG/NAME or .folder=DIR"
        )
    columns = (entry.image, entry.label, dict(entry.splits))
    if place := hubs.local("datasets", entry.id, hub):
        return HubSource(
            str(place),
            _stamp(place),
            entry.config if _has_configs(place) else None,
            None,
            *columns,
        )
    if reason := hubs.unreachable():
        raise hubs.absent("datasets", entry.id, hub, f"task {task!r}", reason)
    return HubSource(
        entry.id, _published_stamp(entry), entry.config, entry.revision, *columns
    )


def _has_configs(place: Path) -> bool:
    readme = place / "README.md"
    return (
        readme.is_file()
        and "config_name" in readme.read_text(errors="replace")
        and "config_name: default" not in (readme.read_text(errors="replace"))
    )


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Every file's name, size and modification time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        (str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns)
        for p in files
    ]


def _published_stamp(entry: Entry) -> str:
    """The commit of a data set on the hub."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(entry.id, revision=entry.revision).sha
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TadropError(
            f"data set {entry.id}: not on the hub under this id ({reason}); it is set in the registry, "
            "and tasks.entries.NAME.id=ORG/NAME overrides it"
        ) from error
