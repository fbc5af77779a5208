"""BEiT-3's five tasks (arXiv 2208.10442), read from the data sets' own files as a user
downloads them.

    imagenet    val/<class folder>/*.JPEG                                                        top-1 accuracy
    retrieval   dataset_coco.json (Karpathy's splits), val2014/, train2014/                      mean recall
    captioning  the same                                                                         CIDEr
    nlvr2       data/{dev,test1}.json, {dev,test1}/*-img{0,1}.png                                accuracy
    vqa         v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json,  VQA accuracy
                answer2label.txt (BEiT-3's), val2014/

Mean recall is that of recall at 1, 5 and 10, texts by image and images by text, which
is what the authors' code and EMR-Merging report; the six are in the record. VQA's
test-dev answers are with a server only: the local validation split stands in for it,
and its answers are compared as BEiT-3's training labels are, by spelling. Images are
squashed to the model's side, ImageNet's cropped.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tadrop.models.beit3 import Inputs
from tadrop.storage.hub import resolve
from tadrop.tasks import captions
from tadrop.tasks.checks import (
    check_limit,
    differing,
    known_names,
    not_at_hand,
    refuse,
)
from tadrop.types import TadropError

SHIFT = 1  # a piece's token id is its sentencepiece id plus this (XLM-R's habit)
START, END, UNKNOWN = 0, 2, 3
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


class Answers(NamedTuple):
    """How right each of `size` answers is, by number; those that are not named are
    wrong.
    """

    right: Mapping[int, float]
    size: int

    def dense(self) -> Tensor:
        scores = torch.zeros(self.size)
        for answer, value in self.right.items():
            scores[answer] = value
        return scores


class Example(NamedTuple):
    """One thing to show the model: image files, a text, and what it is graded by."""

    images: tuple[Path, ...]
    text: str | None
    target: object


def read_json(file: Path, lines: bool = False) -> object:
    """A JSON file, or one value a line. Raises TadropError naming it."""
    try:
        text = file.read_text(encoding="utf-8")
        return (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if lines
            else json.loads(text)
        )
    except (OSError, ValueError) as error:
        raise TadropError(
            f"{file}: not readable ({error}); its place is told in tadrop/tasks/multimodal.py"
        ) from error


def _imagenet(root: Path, split: str) -> list[Example]:
    folders = (
        sorted(f for f in (root / split).iterdir() if f.is_dir())
        if (root / split).is_dir()
        else []
    )
    if not folders:
        raise TadropError(
            f"{root / split}: no class folders; put ImageNet's there as {split}/<class>/*.JPEG"
        )
    return [
        Example((image,), None, label)
        for label, f in enumerate(folders)
        for image in sorted(f.iterdir())
    ]


def _karpathy(root: Path, split: str) -> list[tuple[Path, list[str]]]:
    entries = [
        e
        for e in read_json(root / "dataset_coco.json")["images"]
        if e["split"] == split
    ]
    return [
        (root / e["filepath"] / e["filename"], [s["raw"] for s in e["sentences"]])
        for e in entries
    ]


def _retrieval(root: Path, split: str) -> list[Example]:
    """All images, then all texts; the target says which kind, and the image's number."""
    entries = _karpathy(root, split)
    texts = [
        Example((), text, (1, i))
        for i, (_, sentences) in enumerate(entries)
        for text in sentences
    ]
    return [
        Example((image,), None, (0, i)) for i, (image, _) in enumerate(entries)
    ] + texts


def _captioning(root: Path, split: str) -> list[Example]:
    return [
        Example((image,), None, i)
        for i, (image, _) in enumerate(_karpathy(root, split))
    ]


def _nlvr2(root: Path, split: str) -> list[Example]:
    examples = []
    for entry in read_json(root / "data" / f"{split}.json", lines=True):
        stem = entry["identifier"].rpartition("-")[0]
        images = tuple(root / split / f"{stem}-img{i}.png" for i in (0, 1))
        examples.append(
            Example(images, entry["sentence"], int(entry["label"] == "True"))
        )
    return examples


def _vqa(root: Path, split: str) -> list[Example]:
    """The target is how right each answer is: a third of the people who gave it beside
    you, at most 1.
    """
    file = root / f"v2_mscoco_{split}_annotations.json"
    if split.startswith("test") and not file.exists():
        raise TadropError(
            f"{file}: a server keeps these answers; tadrop vqa_answers writes ours for it"
        )
    answers = {answer: label for label, answer in enumerate(vqa_answers(root))}
    given = {
        a["question_id"]: Counter(one["answer"] for one in a["answers"])
        for a in read_json(file)["annotations"]
    }
    examples = []
    for example in vqa_questions(root, split):
        counts = given[example.target].items()
        right = {
            answers[answer]: min(1.0, 0.3 * count)
            for answer, count in counts
            if answer in answers
        }
        examples.append(example._replace(target=Answers(right, len(answers))))
    return examples


def vqa_answers(root: Path) -> list[str]:
    """The answers that BEiT-3 chooses from, in the order of its logits."""
    entries = read_json(root / "answer2label.txt", lines=True)
    return [e["answer"] for e in sorted(entries, key=lambda e: int(e["label"]))]


def vqa_questions(root: Path, split: str) -> list[Example]:
    """A split's questions; the target is the question's number. test-dev and test share
    their images.
    """
    images = "test2015" if split.startswith("test") else split
    return [
        Example(
            (root / images / f"COCO_{images}_{q['image_id']:012d}.jpg",),
            q["question"],
            q["question_id"],
        )
        for q in read_json(root / f"v2_OpenEnded_mscoco_{split}_questions.json")[
            "questions"
        ]
    ]


def picture(file: Path, side: int, crop: bool) -> Tensor:
    """An image [3, side, side]: squashed, or scaled by its shorter side and cropped
    (with ImageNet's own mean).
    """
    try:
        image = Image.open(file).convert("RGB")
    except OSError as error:
        raise TadropError(f"{file}: not a readable image ({error})") from error
    if crop:
        width, height = image.size
        short = min(width, height)
        image = image.resize(
            (side * width // short, side * height // short), Image.Resampling.BICUBIC
        )
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        image = image.crop((left, top, left + side, top + side))
    else:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    mean, deviation = (
        torch.tensor(v).view(3, 1, 1) for v in (IMAGENET if crop else INCEPTION)
    )
    return (
        torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - mean
    ) / deviation


def recalls(vectors: Tensor, is_text: Tensor, image: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 in both directions, their mean first. vectors: unit vectors
    of images and texts.
    """
    images, texts = vectors[~is_text], vectors[is_text]
    image_of_text, image_of_image = image[is_text], image[~is_text]
    found: dict[str, float] = {}
    for name, queries, answers, own, theirs in (
        ("TR", images, texts, image_of_image, image_of_text),
        ("IR", texts, images, image_of_text, image_of_image),
    ):
        hits = dict.fromkeys((1, 5, 10), 0)
        for part, owner in zip(queries.split(1000), own.split(1000), strict=True):
            best = (
                theirs[(part @ answers.T).topk(min(10, len(answers)), dim=1).indices]
                == owner[:, None]
            )
            for k in hits:
                hits[k] += int(best[:, :k].any(1).sum())
        found |= {f"{name}@{k}": count / len(queries) for k, count in hits.items()}
    return {"mean recall": sum(found.values()) / len(found)} | found


def _of_embeddings(
    tasks: "MultimodalTasks", source: Mapping, kept: Tensor
) -> Mapping[str, float]:
    return recalls(kept[:, 2:], kept[:, 0] == 1, kept[:, 1].long())


def _of_captions(
    tasks: "MultimodalTasks", source: Mapping, kept: Tensor
) -> Mapping[str, float]:
    entries = _karpathy(tasks.root("captioning"), source["split"])
    said = [tasks.decode(row[1:].long().tolist()) for row in kept]
    return captions.METRICS[tasks.caption_metrics](
        said, [entries[int(i)][1] for i in kept[:, 0]]
    )


def _of_answers(
    tasks: "MultimodalTasks", source: Mapping, kept: Tensor
) -> Mapping[str, float]:
    return {"VQA accuracy": float(kept.double().mean())}


class Kind(NamedTuple):
    """How a task's files are read, and what is measured where it is not the mean of
    right answers.
    """

    read: Callable[[Path, str], list[Example]]
    measure: (
        Callable[["MultimodalTasks", Mapping, Tensor], Mapping[str, float]] | None
    ) = None


KINDS = {
    "imagenet": Kind(_imagenet),
    "retrieval": Kind(_retrieval, _of_embeddings),
    "captioning": Kind(_captioning, _of_captions),
    "nlvr2": Kind(_nlvr2),
    "vqa": Kind(_vqa, _of_answers),
}


@lru_cache(maxsize=2 * len(KINDS))
def _examples(task: str, root: Path, split: str) -> list[Example]:
    return KINDS[task].read(root, split)


def _odd(
    task: str, source: Mapping, split: str, examples: Sequence[Example]
) -> list[str]:
    """What of a whole split is not as it officially is."""
    targets, expected = [e.target for e in examples], source.get("classes")
    classes = (
        targets[0].size
        if isinstance(targets[0], Answers)
        else len(set(targets))
        if expected
        else None
    )
    rows = source.get("rows", {}).get(split)
    return differing(
        task, {f"{split} rows": (len(examples), rows), "classes": (classes, expected)}
    )


@dataclass(frozen=True)
class MultimodalTasks:
    """Image and image-text tasks as the evaluator sees them.

    sources: per task the folder of its data, the side of its images and the names of
    its splits
    tokenizer: BEiT-3's sentencepiece model; longest: token ids of a text, both ends
    included
    strict: whether the official numbers of rows and classes must hold; the protocol
    says where they do not
    caption_metrics: builtin, or coco (pycocoevalcap and Java), which has METEOR too
    """

    names: Sequence[str]
    sources: Mapping[str, Mapping]
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
            known = " or ".join(captions.METRICS)
            raise TadropError(
                f"tasks.caption_metrics is {self.caption_metrics!r}; it must be {known}"
            )

    def root(self, task: str) -> Path:
        return resolve("datasets", self.sources[task]["data"], self.hub_dir)

    def examples(self, task: str, split: str) -> list[Example]:
        """Raises TadropError where they are not the official ones, if strict."""
        source = self.sources[task]
        if source.get(split) is None:
            if split == "train":
                raise TadropError(
                    f"{task} is read for evaluation only; rows that read training inputs do not run"
                )
            raise TadropError(
                f"{task} has no {split} split of its own: take select=fixed and a row that reads none"
            )
        whole = _examples(task, self.root(task), source[split])
        refuse(self.root(task), _odd(task, source, source[split], whole), self.strict)
        return whole[: self.limit]

    @property
    def protocol(self) -> str:
        """The version, VQA's split, whose caption metrics, and where the data are not
        the official ones.
        """
        words = ["beit3-1"] + [
            f"vqa {self.sources['vqa']['test']}"
            for _ in {"vqa"}.intersection(self.names)
        ]
        words += [
            f"captions {self.caption_metrics}"
            for _ in {"captioning"}.intersection(self.names)
        ]
        odd = [
            fact
            for task, source in ((task, self.sources[task]) for task in self.names)
            for fact in _odd(
                task,
                source,
                source["test"],
                _examples(task, self.root(task), source["test"]),
            )
        ]
        return ", ".join([*words, f"cut ({', '.join(odd)})"] if odd else words)

    @cached_property
    def pieces(self):
        from sentencepiece import SentencePieceProcessor

        file = resolve("models", self.tokenizer, self.hub_dir)
        try:
            return SentencePieceProcessor(model_file=str(file))
        except (OSError, RuntimeError) as error:
            raise TadropError(f"{file}: not a sentencepiece model ({error})") from error

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Token ids between <s> and </s>, -1 after the end."""
        rows = []
        for text in texts:
            ids = [
                UNKNOWN if i == self.pieces.unk_id() else i + SHIFT
                for i in self.pieces.encode(text)
            ]
            rows.append(torch.tensor([START, *ids[: self.longest - 2], END]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)

    def decode(self, ids: Sequence[int]) -> str:
        return self.pieces.decode(
            [i - SHIFT for i in ids if UNKNOWN < i < self.pieces.vocab_size() + SHIFT]
        )

    def batches(self, task: str, split: str) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs and targets, in the files' order; a batch is of images, of texts or of
        both, never mixed.
        """
        return self.shown(task, self.examples(task, split))

    def shown(
        self, task: str, examples: Sequence[Example]
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Batches of these examples."""
        side, crop = self.sources[task]["side"], self.sources[task].get("crop", False)
        kinds = [
            [e for e in examples if e.images],
            [e for e in examples if not e.images],
        ]
        with ThreadPoolExecutor(4) as pool:
            for part in (
                kind[at : at + self.batch]
                for kind in kinds
                for at in range(0, len(kind), self.batch)
            ):
                files = [file for e in part for file in e.images]
                found = list(pool.map(lambda file: picture(file, side, crop), files))
                images = (
                    torch.stack(found).unflatten(0, (len(part), -1)) if found else None
                )
                ids = (
                    self.encode([e.text for e in part])
                    if part[0].text is not None
                    else None
                )
                targets = [e.target for e in part]
                dense = isinstance(targets[0], Answers)
                yield (
                    Inputs(images, ids),
                    torch.stack([t.dense() for t in targets])
                    if dense
                    else torch.tensor(targets),
                )

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the largest logit is the label's, or how right it is; what no mean
        will do for is kept as it is.
        """
        if outputs.shape[1:] == targets.shape[1:] and targets.is_floating_point():
            return targets.gather(1, outputs.argmax(1, keepdim=True)).squeeze(1)
        if outputs.is_floating_point() and targets.dim() == 1:
            return outputs.argmax(1) == targets
        return torch.cat(
            [targets.view(len(targets), -1).float(), outputs.float()], dim=1
        )

    def measure(self, task: str, split: str, kept: Tensor) -> dict[str, float] | None:
        """Recalls of embeddings, metrics of captions; None for the others."""
        measure, source = KINDS[task].measure, self.sources[task]
        return (
            None
            if measure is None
            else dict(measure(self, {**source, "split": source[split]}, kept))
        )

    def needs(self) -> list[str]:
        """The data sets that are in no local folder, a line each."""
        references = {task: self.sources[task]["data"] for task in self.names}
        return not_at_hand(references, self.hub_dir)

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of what is asked and of the images' names and sizes, 16 hex digits."""
        digest = hashlib.sha256()
        for example in self.examples(task, split):
            target = (
                sorted(example.target.right.items())
                if isinstance(example.target, Answers)
                else example.target
            )
            files = [(file.name, file.stat().st_size) for file in example.images]
            digest.update(repr((files, example.text, target)).encode())
        return digest.hexdigest()[:16]
