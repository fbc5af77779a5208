"""Examples of BEiT-3's five tasks, from the data sets' own files.

Where the files lie is told in tadrop/tasks/multimodal.py. Every reader takes a folder
and the name that the data set gives to a split.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tadrop.types import TadropError


class Answers(NamedTuple):
    """How right each of `size` answers is, by number; those not named are wrong."""

    right: Mapping[int, float]
    size: int

    def dense(self) -> Tensor:
        """The same as a tensor, [size]."""
        scores = torch.zeros(self.size)
        for answer, value in self.right.items():
            scores[answer] = value
        return scores


class Example(NamedTuple):
    """One thing to show the model: image files, a text, and what it is graded by."""

    images: tuple[Path, ...]
    text: str | None
    target: Any


def parts(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """At most `size` examples at a time: those with images, then those without."""
    with_images, texts = [], []
    for example in examples:
        alike = with_images if example.images else texts
        alike.append(example)
    for alike in (with_images, texts):
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def stacked(targets: Sequence[Any]) -> Tensor:
    """The targets of some examples of one task, [batch, ...]."""
    if isinstance(targets[0], Answers):
        return torch.stack(list(map(Answers.dense, targets)))
    return torch.tensor(targets)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> TadropError:
    return TadropError(
        f"{file}: not readable ({error}); "
        "its place is told in tadrop/tasks/multimodal.py"
    )


def read_json(file: Path) -> Any:
    """The value in a JSON file. Raises TadropError naming it."""
    text = _read_text(file)
    try:
        return json.loads(text)
    except ValueError as error:
        raise _unreadable(file, error) from error


def read_json_lines(file: Path) -> list[Any]:
    """The values in a file that has one a line. Raises TadropError naming it."""
    lines = filter(str.strip, _read_text(file).splitlines())
    try:
        return list(map(json.loads, lines))
    except ValueError as error:
        raise _unreadable(file, error) from error


def imagenet(root: Path, split: str) -> list[Example]:
    """The target is the number of the class."""
    place = root / split
    folders = sorted(filter(Path.is_dir, place.iterdir())) if place.is_dir() else []
    if not folders:
        raise TadropError(
            f"{place}: no class folders; put ImageNet's there as {split}/<class>/*.JPEG"
        )
    examples = []
    for label, folder in enumerate(folders):
        for image in sorted(folder.iterdir()):
            examples.append(Example((image,), None, label))
    return examples


def captioned(root: Path, split: str) -> list[tuple[Path, list[str]]]:
    """COCO's images and their captions, in Karpathy's splits."""
    pairs = []
    for entry in read_json(root / "dataset_coco.json")["images"]:
        if entry["split"] == split:
            captions = [sentence["raw"] for sentence in entry["sentences"]]
            pairs.append((root / entry["filepath"] / entry["filename"], captions))
    return pairs


def retrieval(root: Path, split: str) -> list[Example]:
    """All images, then all texts.

    The target is 0 for an image or 1 for a text, and the number of the image.
    """
    images, texts = [], []
    for number, (image, captions) in enumerate(captioned(root, split)):
        images.append(Example((image,), None, (0, number)))
        for caption in captions:
            texts.append(Example((), caption, (1, number)))
    return images + texts


def first(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """So many examples; all for None."""
    return list(examples[:limit])


def first_images(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """So many of the images of `retrieval`, with all their texts; all for None."""
    chosen: list[Example] = []
    for example in examples:
        _, number = example.target
        if limit is None or number < limit:
            chosen.append(example)
    return chosen


def captioning(root: Path, split: str) -> list[Example]:
    """The target is the number of the image."""
    examples = []
    for number, (image, _) in enumerate(captioned(root, split)):
        examples.append(Example((image,), None, number))
    return examples


def nlvr2(root: Path, split: str) -> list[Example]:
    """Two images and a sentence; the target is 1 where it is true of them."""
    examples = []
    for entry in read_json_lines(root / "data" / f"{split}.json"):
        stem = entry["identifier"].rpartition("-")[0]
        left, right = (
            root / split / f"{stem}-img0.png",
            root / split / f"{stem}-img1.png",
        )
        label = int(entry["label"] == "True")
        examples.append(Example((left, right), entry["sentence"], label))
    return examples


def vqa(root: Path, split: str) -> list[Example]:
    """The target is how right each answer is.

    That is a third of the people who gave it beside you, at most 1.
    """
    file = root / f"v2_mscoco_{split}_annotations.json"
    if split.startswith("test") and not file.exists():
        raise TadropError(
            f"{file}: a server keeps these answers; tadrop vqa_answers writes ours for it"
        )
    labels = {answer: label for label, answer in enumerate(vqa_answers(root))}
    given = {}
    for annotation in read_json(file)["annotations"]:
        people = annotation["answers"]
        given[annotation["question_id"]] = Counter(one["answer"] for one in people)
    examples = []
    for example in vqa_questions(root, split):
        right = {}
        for answer, count in given[example.target].items():
            if answer in labels:
                right[labels[answer]] = min(1.0, 0.3 * count)
        examples.append(example._replace(target=Answers(right, len(labels))))
    return examples


def vqa_answers(root: Path) -> list[str]:
    """The answers that BEiT-3 chooses from, in the order of its logits."""
    entries = read_json_lines(root / "answer2label.txt")
    return [entry["answer"] for entry in sorted(entries, key=_label)]


def _label(entry: Mapping[str, Any]) -> int:
    return int(entry["label"])


def vqa_questions(root: Path, split: str) -> list[Example]:
    """A split's questions; the target is the question's number.

    test-dev and test share their images.
    """
    images = "test2015" if split.startswith("test") else split
    file = root / f"v2_OpenEnded_mscoco_{split}_questions.json"
    examples = []
    for entry in read_json(file)["questions"]:
        image = root / images / f"COCO_{images}_{entry['image_id']:012d}.jpg"
        examples.append(Example((image,), entry["question"], entry["question_id"]))
    return examples
