"""Image classification tasks: hub data sets, folders of images, and the registries that
describe them.

A registry (tadrop/assets/tasks/*.yaml) has one entry a task; `tasks.entries.NAME={...}`
adds one or changes one, and a name with a slash needs none: it is a data set's id. Data
come from DIR/datasets/org/name if paths.hub=DIR has it, else from the hub. Expected
class and example counts are checked: a wrong split or a cut is seen at once. limit=N is
a seeded sample of the whole split, for which only some row groups of parquet files are
read or downloaded (tadrop/tasks/reading/sampling.py); other files, such as tar
archives, are read from end to end. Validation is a seeded tenth of train, at most
5,000. For checkpoints that were trained on all of train (the hub's) it is training
data: a scale chosen on it is chosen on what the experts have seen.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tadrop.storage.atomic import caching
from tadrop.tasks.checks import check_limit, differing, needed, refuse
from tadrop.tasks.reading import sampling
from tadrop.tasks.reading.images import VERSION, Images, build, open_images
from tadrop.tasks.reading.registry import Entry, entries, registry
from tadrop.tasks.reading.sources import ImageSource, missing_files, source_of
from tadrop.types import Need, TadropError

if TYPE_CHECKING:
    from tadrop.protocols.tasks import ImageTasks, Tasks

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class VisionTasks:
    """Image tasks as the evaluator sees them.

    registry:   the name of a registry, or a YAML file
    preprocess: the size of the model's input, and how images get there
    entries:    changes to entries, and entries of one's own, by task
    strict:     whether expected counts must hold
    variants:   which variant of an entry is taken, by task
    limit:      only so many seeded examples of each split
    label:      what the record calls the data, where not by the registry's name
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
    _entries: dict[str, Entry] = field(init=False, repr=False, compare=False)
    _opened: dict[tuple[str, str], Images] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        check_limit(self.limit)
        names = tuple(self.names)
        described = entries(self.registry, names, self.entries, self.variants)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_entries", described)

    @property
    def _parts(self) -> Path | None:
        """Where parts of files are kept; None where files are read whole."""
        return None if self.limit is None else Path(self.cache)

    @property
    def _size(self) -> int:
        """The side of the model's input, in pixels."""
        return self.preprocess["size"]

    @property
    def _resize(self) -> str:
        return self.preprocess.get("resize", "shortest")

    def protocol(self) -> str:
        """Registry, variants, input, and counts that are not as expected."""
        words = [self.label or self.registry]
        for task, variant in self.variants.items():
            words.append(f"{task} {variant}")
        words.append(f"{self._size} px {self._resize}")
        odd = []
        for images in self._opened.values():
            odd += images.facts["odd"]
        if odd:
            words += ["not strict", *odd]
        return ", ".join(words)

    def entry(self, task: str) -> Entry:
        """What the registry says of a task."""
        return self._entries[task]

    def classes(self, task: str) -> tuple[str, ...]:
        """Class names in label order.

        They are the entry's, or the data's own where the entry has none or the data are
        a cut.
        """
        names = self.entry(task).classes
        if self.strict and names:
            return tuple(names)
        return tuple(self.images(task, "test").facts["classes"])

    def published(self, source: str, model: str) -> dict[str, float]:
        """Reported accuracies in percent of a source's individual models.

        Left out are tasks that the source measured on other data, or whose test images
        its models had seen.
        """
        if self.registry not in ("vision", source):
            return {}
        reported = registry("published").get(source, {})
        variants, leaked = reported.get("variants", {}), reported.get("leaked", ())
        known = reported.get(model, {})
        accuracies = {}
        for task in self.names:
            same = self.variants.get(task) == variants.get(task)
            if task in known and same and task not in leaked:
                accuracies[task] = known[task]
        return accuracies

    def backbones(self) -> tuple[str, ...]:
        """The models that are published fine-tuned on the tasks of this registry.

        Empty for a registry whose models come from several sources, or from users.
        """
        facts = registry("published").get(self.registry, {})
        return tuple(key for key, value in facts.items() if isinstance(value, dict))

    def needs(self) -> list[Need]:
        """The data sets and folders that are in no local folder."""
        found: list[Need] = []
        for task in self.names:
            entry = self.entry(task)
            reference = entry.folder or entry.id
            if reference is None:
                continue
            files = missing_files(entry, self.hub_dir, self._parts)
            if files:
                found.append(needed(task, reference, files, entry.folder is None))
        return found

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(images uint8 [batch, size, size, 3], labels [batch]).

        The next batch is read while this one is used.
        """
        data = self.images(task, split)

        def read(start: int) -> tuple[Tensor, Tensor]:
            part = slice(start, start + self.batch)
            pixels = torch.from_numpy(np.array(data.images[part]))
            return pixels, torch.from_numpy(data.labels[part])

        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(read, 0)
            for start in range(self.batch, len(data.labels) + self.batch, self.batch):
                ready = coming.result()
                coming = ahead.submit(read, start)
                yield ready

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's."""
        return outputs.argmax(1) == targets

    def measure(self, task: str, split: str, kept: Tensor) -> None:
        """The mean of what is graded is the metric."""

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
        """A split from the cache; prepared and put there first if need be."""
        source = source_of(task, self.entry(task), self.hub_dir, self._parts)
        folder = caching.place(Path(self.cache) / "images" / self._key(source, split))
        if not (folder / "facts.json").exists():
            facts = {
                "source": source.place,
                "split": split,
                "names": source.class_names(),
            }
            rows = source.rows(split, self.limit)
            build(folder, rows, self._size, self._resize, facts)
        return self._checked(task, split, open_images(folder))

    def _key(self, source: ImageSource, split: str) -> str:
        """The name of a split in the cache: a hash of what its images depend on."""
        words = [
            VERSION,
            source.identity(),
            split,
            self.limit,
            self._size,
            self._resize,
            sampling.VALIDATION,
            sampling.PER_GROUP if self.limit else None,
        ]
        text = json.dumps(words, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _checked(self, task: str, split: str, data: Images) -> Images:
        """The split with its class names, and with what is not as expected, in words.

        Raises TadropError for the latter if strict.
        """
        entry, names = self.entry(task), data.facts["names"]
        classes = list(entry.classes) if entry.classes else names
        if classes is None:
            raise TadropError(
                f"task {task!r}: the data name no classes; "
                f"give tasks.entries.{task}.classes=[...]"
            )
        expected = entry.test if split == "test" and self.limit is None else None
        odd = differing(task, {f"{split} examples": (data.facts["count"], expected)})
        if names is not None and len(names) != len(classes):
            odd += differing(task, {"classes": (len(names), len(classes))})
            classes = names
        source = data.facts["source"]
        refuse(source, odd, self.strict)
        if not len(data.labels):
            raise TadropError(f"{source}: split {split!r} is empty")
        if not 0 <= data.labels.min() <= data.labels.max() < len(classes):
            outside = data.labels.min() if data.labels.min() < 0 else data.labels.max()
            raise TadropError(
                f"{source}, split {split!r}: label {outside} of {len(classes)} classes; "
                f"look at tasks.entries.{task}.classes"
            )
        facts = {**data.facts, "classes": classes, "odd": odd}
        return Images(data.images, data.labels, facts)


if TYPE_CHECKING:
    _family: type[Tasks] = VisionTasks
    _images: type[ImageTasks] = VisionTasks
