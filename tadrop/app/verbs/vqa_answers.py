"""Writes a merged model's answers to VQAv2's test questions as the file that the
evaluation server takes.

    tadrop vqa_answers OUT.json model=beit3 merge=emr tadrop=on
    paths.hub=DIR [split=test-dev2015]

The official format: [{"question_id": 1, "answer": "yes"}, ...], one entry a question.
Questions are read from v2_OpenEnded_mscoco_{split}_questions.json and images from
test2015/ beside VQA's other files. What comes after OUT.json are run.py's own
overrides; the merge is that of all the model's tasks. Nothing is recorded: the server
has the answers.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.progress import track

from tadrop.app.console import Progress, err
from tadrop.app.meter import Meter
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.runs.preparing import merged, prepare
from tadrop.app.schema.composing import composed
from tadrop.evaluation.bench import Bench
from tadrop.protocols.tasks import QuestionTasks
from tadrop.storage.files import write_text
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged, materialise

SPLIT = "test-dev2015"


def merged_model(cfg: DictConfig) -> tuple[Bench, Merged, float]:
    """The merge of a configuration, as a run makes it, and its scale."""
    quiet, meter = Progress(), Meter()
    prepared = prepare(cfg, quiet, meter)
    outcome, selection = merged(prepared, quiet, meter)
    return prepared.evaluated(), outcome, selection.scale


@torch.inference_mode()
def answers(
    bench: Bench, outcome: Merged, scale: float, split: str
) -> Iterator[dict[str, object]]:
    """The most likely answer to every question of a split."""
    tasks = bench.tasks
    if not isinstance(tasks, QuestionTasks):
        raise TadropError("these tasks have no questions: take model=beit3")
    words = tasks.answers()
    bench.load(materialise(bench.base, outcome, "vqa", scale))
    bench.equip("vqa")
    with outcome.attached(bench.module, "vqa"):
        for inputs, numbers in tasks.questions(split):
            likely = bench.module(inputs.to(bench.device)).argmax(1).tolist()
            for question, word in zip(numbers.tolist(), likely, strict=True):
                yield {"question_id": question, "answer": words[word]}


def main() -> None:
    """The command line of this verb."""
    target, split, overrides = None, SPLIT, []
    for word in sys.argv[1:]:
        if word.startswith("split="):
            split = word.removeprefix("split=")
        elif "=" in word or word.startswith("+"):
            overrides.append(word)
        else:
            target = Path(word)
    if target is None or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    with told_in_one_line():
        cfg = composed(["model=beit3", *overrides])
        if "vqa" not in cfg.tasks.names:
            raise TadropError("tasks.names has no vqa: there is nobody to ask")
        asked = answers(*merged_model(cfg), split)
        replies = list(track(asked, "questions", console=err))
    write_text(target, json.dumps(replies) + "\n")
    print(f"wrote {target}: {len(replies)} answers of {split}, for the VQA server")


if __name__ == "__main__":
    main()
