"""BEiT-3's five tasks (arXiv 2208.10442), read from the data sets' own files as a user
downloads them.

    imagenet    top-1 accuracy
                val/<class folder>/*.JPEG
    retrieval   mean recall
                dataset_coco.json (Karpathy's splits), val2014/, train2014/
    captioning  CIDEr
                the same
    nlvr2       accuracy
                data/{dev,test1}.json, {dev,test1}/*-img{0,1}.png
    vqa         VQA accuracy
                v2_OpenEnded_mscoco_val2014_questions.json,
                v2_mscoco_val2014_annotations.json,
                answer2label.txt (BEiT-3's), val2014/

Mean recall is that of recall at 1, 5 and 10, texts by image and images by text, which
is what the authors' code and EMR-Merging report; the six are in the record. VQA's
test-dev answers are with a server only: the local validation split stands in for it,
and its answers are compared as BEiT-3's training labels are, by spelling. Images are
squashed to the model's side, ImageNet's cropped.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tadrop.models.beit3.transformer import Inputs
from tadrop.storage.hub import resolve
from tadrop.storage.repository import at_hand
from tadrop.tasks.checks import (
    check_limit,
    differing,
    known_names,
    needed,
    refuse,
)
from tadrop.tasks.metrics import captions
from tadrop.tasks.metrics.recall import recalls
from tadrop.tasks.reading import examples as reading
from tadrop.tasks.reading.examples import Answers, Example
from tadrop.tasks.reading.pictures import picture
from tadrop.tasks.reading.pieces import Pieces
from tadrop.tasks.reading.registry import reported
from tadrop.types import Need, TadropError

if TYPE_CHECKING:
    from tadrop.protocols.tasks import QuestionTasks, ReportedTasks, Tasks

# Part of the protocol. To read or grade in another way takes a new version.
VERSION = 1


def _of_embeddings(
    tasks: "MultimodalTasks", split: str, kept: Tensor
) -> Mapping[str, float]:
    return recalls(kept[:, 2:], kept[:, 0] == 1, kept[:, 1].long())


def _of_captions(
    tasks: "MultimodalTasks", split: str, kept: Tensor
) -> Mapping[str, float]:
    captioned = reading.captioned(tasks.root("captioning"), split)
    candidates, references = [], []
    for number, *ids in kept.long().tolist():
        candidates.append(tasks.pieces.decode(ids))
        references.append(captioned[number][1])
    return captions.METRICS[tasks.caption_metrics](candidates, references)


def _of_answers(
    tasks: "MultimodalTasks", split: str, kept: Tensor
) -> Mapping[str, float]:
    return {"VQA accuracy": float(kept.double().mean())}


class Kind(NamedTuple):
    """How a task's files are read, its metric where that is not plain accuracy, and what
    a limit leaves.

    A split goes by the data set's own name for it.
    """

    read: Callable[[Path, str], list[Example]]
    measure: Callable[["MultimodalTasks", str, Tensor], Mapping[str, float]] | None
    first: Callable[[list[Example], int | None], list[Example]] = reading.first


KINDS = {
    "imagenet": Kind(reading.imagenet, None),
    "retrieval": Kind(reading.retrieval, _of_embeddings, reading.first_images),
    "captioning": Kind(reading.captioning, _of_captions),
    "nlvr2": Kind(reading.nlvr2, None),
    "vqa": Kind(reading.vqa, _of_answers),
}


@lru_cache(maxsize=2 * len(KINDS))
def _examples(task: str, root: Path, split: str) -> list[Example]:
    return KINDS[task].read(root, split)


def _classes(examples: Sequence[Example]) -> int:
    """How many classes there are: answers to choose from, or targets that occur."""
    first = examples[0].target
    if isinstance(first, Answers):
        return first.size
    return len({example.target for example in examples})


@dataclass(frozen=True)
class MultimodalTasks:
    """Image and image-text tasks as the evaluator sees them.

    sources:   per task the folder of its data, the side of its images and the names of
               its splits
    tokenizer: BEiT-3's sentencepiece model
    longest:   token ids of a text, both ends included
    strict:    whether the official numbers of rows and classes must hold; where they
               need not and do not, the protocol says so
    caption_metrics: builtin, or coco (pycocoevalcap and Java), which has METEOR too
    """

    names: Sequence[str]
    sources: Mapping[str, Mapping[str, Any]]
    tokenizer: str
    longest: int = 64
    batch: int = 16
    hub_dir: str | None = None
    limit: int | None = None
    strict: bool = True
    caption_metrics: str = "builtin"
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        known = [kind for kind in KINDS if kind in self.sources]
        object.__setattr__(self, "names", known_names("multimodal", self.names, known))
        check_limit(self.limit)
        if self.caption_metrics not in captions.METRICS:
            choices = " or ".join(captions.METRICS)
            raise TadropError(
                f"tasks.caption_metrics is {self.caption_metrics!r}; it must be {choices}"
            )

    def root(self, task: str) -> Path:
        """The folder of a task's data."""
        return resolve("datasets", self.sources[task]["data"], self.hub_dir, ["*"])

    def _whole(self, task: str, split: str) -> tuple[list[Example], list[str]]:
        """A split, as the data set calls it,
        and what of it is not as it officially is.
        """
        source = self.sources[task]
        examples = _examples(task, self.root(task), split)
        expected = source.get("classes")
        classes = None if expected is None else _classes(examples)
        rows = source.get("rows", {}).get(split)
        counts = {
            f"{split} rows": (len(examples), rows),
            "classes": (classes, expected),
        }
        return examples, differing(task, counts)

    def examples(self, task: str, split: str) -> list[Example]:
        """A split. Raises TadropError where it is not the official one, if strict."""
        name = self.sources[task].get(split)
        if name is None and split == "train":
            raise TadropError(
                f"{task} is read for evaluation only; "
                "rows that read training inputs do not run"
            )
        if name is None:
            raise TadropError(
                f"{task} has no {split} split of its own: "
                "take select=fixed and a row that reads none"
            )
        examples, odd = self._whole(task, name)
        refuse(self.root(task), odd, self.strict)
        return KINDS[task].first(examples, self.limit)

    def reported(self, model: str, experts: Mapping[str, str]) -> dict[str, float]:
        """Results in percent that the authors of these experts report, by task.

        They are of the metrics that are reported here. A task whose data are a cut is
        left out.
        """
        measured: dict[str, tuple[str, str]] = {}
        for task in self.names:
            split = self.sources[task]["test"]
            if not self._whole(task, split)[1]:
                measured[task] = (split, "accuracy")
        return reported(model, experts, measured)

    def protocol(self) -> str:
        """The version, VQA's split, whose caption metrics, and unofficial data."""
        words = [f"beit3-{VERSION}"]
        if "vqa" in self.names:
            words.append(f"vqa {self.sources['vqa']['test']}")
        if "captioning" in self.names:
            words.append(f"captions {self.caption_metrics}")
        odd = []
        for task in self.names:
            odd += self._whole(task, self.sources[task]["test"])[1]
        if odd:
            words.append(f"cut ({', '.join(odd)})")
        return ", ".join(words)

    @cached_property
    def pieces(self) -> Pieces:
        """What makes token ids of texts."""
        return Pieces(resolve("models", self.tokenizer, self.hub_dir))

    def needs(self) -> list[Need]:
        """The data sets that are in no local folder."""
        found: list[Need] = []
        for task in self.names:
            data = self.sources[task]["data"]
            name, _, revision = data.partition("@")
            if at_hand("datasets", name, self.hub_dir, revision or None) is None:
                found.append(needed(task, data))
        return found

    def batches(self, task: str, split: str) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs and targets, in the files' order.

        A batch is of images, of texts or of both, never mixed.
        """
        return self._shown(task, self.examples(task, split))

    def answers(self) -> list[str]:
        """The answers that a model chooses from, in the order of its logits."""
        return reading.vqa_answers(self.root("vqa"))

    def questions(self, split: str) -> Iterator[tuple[Inputs, Tensor]]:
        """VQA's questions and their numbers, in a split as the data set calls it."""
        questions = reading.vqa_questions(self.root("vqa"), split)
        return self._shown("vqa", questions[: self.limit])

    def _shown(
        self, task: str, examples: Sequence[Example]
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Batches of these examples."""
        source = self.sources[task]
        prepare = partial(picture, side=source["side"], crop=source.get("crop", False))
        with ThreadPoolExecutor(4) as pool:
            for part in reading.parts(examples, self.batch):
                files, texts, targets = zip(*part, strict=True)
                pictures = list(pool.map(prepare, chain.from_iterable(files)))
                images = ids = None
                if pictures:
                    images = torch.stack(pictures).unflatten(0, (len(part), -1))
                if texts[0] is not None:
                    ids = self.pieces.encode(texts, self.longest)
                yield Inputs(images, ids), reading.stacked(targets)

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest logit is the label's, or how right its answer is.

        What no mean will do for is kept as it is: targets and outputs side by side.
        """
        if outputs.shape[1:] == targets.shape[1:] and targets.is_floating_point():
            return targets.gather(1, outputs.argmax(1, keepdim=True)).squeeze(1)
        if outputs.is_floating_point() and targets.dim() == 1:
            return outputs.argmax(1) == targets
        flat = targets.view(len(targets), -1)
        return torch.cat([flat.float(), outputs.float()], dim=1)

    def measure(
        self, task: str, split: str, kept: Tensor
    ) -> Mapping[str, float] | None:
        """Recalls of embeddings, metrics of captions and answers, or None."""
        measure = KINDS[task].measure
        if measure is None:
            return None
        return measure(self, self.sources[task][split], kept)

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of what is asked and of the images' names and sizes, 16 hex digits."""
        digest = hashlib.sha256()
        for example in self.examples(task, split):
            target = example.target
            if isinstance(target, Answers):
                target = sorted(target.right.items())
            files = [(file.name, file.stat().st_size) for file in example.images]
            digest.update(repr((files, example.text, target)).encode())
        return digest.hexdigest()[:16]


if TYPE_CHECKING:
    _family: type[Tasks] = MultimodalTasks
    _questions: type[QuestionTasks] = MultimodalTasks
    _reported: type[ReportedTasks] = MultimodalTasks
