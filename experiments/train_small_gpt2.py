"""Trained a small GPT-2 from nothing, and fine-tuned it on seven text tasks.

    python -m experiments.train_small_gpt2 --hub DIR [--out checkpoints/gpt2_small]

It was run for the board of text tasks that needs no download of a model: the language
path on real text, offline. It is needed where that board is made anew. It takes forty
minutes on one busy core. It writes a folder for the base and one for each task under
--out, and then `python run.py model=gpt2_small paths.hub=DIR` merges them.

DIR is laid out like the hub and holds the data sets of conf/tasks/text7.yaml. A
byte-level BPE is trained on the training sentences, then a language model on their
tokens, then a classifier per task. A file that exists is kept, so an interrupted run
goes on where it stopped.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from experiments.training import Rates, optimise
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.app.terminal.entry import enter
from tadrop.models.language.gpt2 import Classifier
from tadrop.numerics.seeds import generator
from tadrop.storage.files import write_tensors, write_text
from tadrop.tasks.glue import TextTasks
from tadrop.tasks.reading.tokens import Tokens, pad, read_rows


class TaskSettings(Rates):
    """How a classifier is fine-tuned."""

    epochs: int
    batch: int


class BaseSettings(TaskSettings):
    """How the language model is trained; window: tokens of a line of a batch."""

    window: int


SIZES = {
    "vocab_size": 4096,
    "n_positions": 256,
    "n_embd": 128,
    "n_layer": 4,
    "n_head": 4,
}
BASE: BaseSettings = {
    "epochs": 2,
    "rate": 2e-3,
    "decay": 0.1,
    "window": 128,
    "batch": 32,
}
TASK: TaskSettings = {"epochs": 3, "rate": 5e-4, "decay": 0.05, "batch": 32}
BETAS = (0.9, 0.98)
END = "<|endoftext|>"
WEIGHTS = "model.safetensors"

OnStep = Callable[[float], object]
Begin = Callable[[int], OnStep]  # see add_bar


def open_tasks(hub: str, out: Path) -> TextTasks:
    """The tasks of the configuration, read with the tokenizer that is trained here."""
    words = [
        "model=gpt2_small",
        f"paths.hub={hub}",
        f"paths.cache={out / 'cache'}",
        f"model.base={out / 'base'}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tasks = build.tasks(compose("config", words).tasks)
    return cast("TextTasks", tasks)  # which the configuration of this model names


def train_tokenizer(tasks: TextTasks, hub: str, folder: Path) -> None:
    """A byte-level BPE in GPT-2's files, trained on the training sentences of all tasks."""
    from tokenizers import ByteLevelBPETokenizer

    texts: list[str] = []
    for task in tasks.names:
        source = tasks.source(task)
        columns, _ = read_rows(source.files(source.train, hub), source.columns)
        for column in columns:
            texts += column
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts, SIZES["vocab_size"], special_tokens=[END], show_progress=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    kind = {"tokenizer_class": "GPT2Tokenizer"}
    write_text(folder / "tokenizer_config.json", json.dumps(kind))


def new_model() -> tuple[Classifier, dict[str, Any]]:
    """A fresh transformer with GPT-2's own initialisation, and its configuration."""
    from transformers import GPT2Config, GPT2Model

    drop = {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
    settings: dict[str, Any] = {**SIZES, **drop}
    config = GPT2Config(**settings, bos_token_id=0, eos_token_id=0)
    return Classifier(GPT2Model(config), SIZES["n_embd"]), config.to_diff_dict()


def windows(tasks: TextTasks) -> Tensor:
    """All training texts, [window, BASE's window + 1].

    They are shuffled, joined by the end token and cut.
    """
    texts: list[Tensor] = []
    for task in tasks.names:
        tokens = tasks.tokens(task, "train")
        for text in torch.tensor_split(tokens.ids, tokens.ends[:-1]):
            texts.append(torch.cat([text, text.new_zeros(1)]))
    order = generator("train_small_gpt2", "order").permutation(len(texts))
    stream = torch.cat([texts[number] for number in order]).long()
    length = BASE["window"] + 1
    return stream[: len(stream) // length * length].view(-1, length)


def pretraining(tasks: TextTasks) -> tuple[int, Iterator[Tensor]]:
    """How many steps there are, and the batches of windows."""
    rows = windows(tasks)
    size = BASE["batch"]
    per_epoch = len(rows) // size

    def batches() -> Iterator[Tensor]:
        for epoch in range(BASE["epochs"]):
            order = generator("train_small_gpt2", "base", epoch).permutation(len(rows))
            for number in range(per_epoch):
                yield rows[order[number * size : (number + 1) * size]]

    return BASE["epochs"] * per_epoch, batches()


def fine_tuning(
    task: str,
    tokens: Tokens,
) -> tuple[int, Iterator[tuple[Tensor, Tensor]]]:
    """How many steps there are, and the batches of token ids and labels.

    Texts of like length stand together in a batch; batches come in random order.
    """
    lengths = np.diff(tokens.ends.numpy(), prepend=0)
    size = TASK["batch"]
    per_epoch = math.ceil(len(lengths) / size)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in range(TASK["epochs"]):
            rng = generator("train_small_gpt2", task, epoch)
            jittered = lengths + rng.uniform(0, 8, len(lengths))
            order = np.argsort(jittered, kind="stable")
            for number in rng.permutation(per_epoch):
                rows = order[number * size :][:size]
                yield pad(tokens, rows), tokens.labels[torch.from_numpy(rows)]

    return TASK["epochs"] * per_epoch, batches()


def language_loss(model: Classifier, rows: Tensor) -> Tensor:
    """Cross-entropy of the next token, by the tied embedding."""
    hidden = model.transformer(rows[:, :-1], use_cache=False).last_hidden_state
    embedding = model.get_parameter("transformer.wte.weight")
    logits = functional.linear(hidden, embedding)
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def train_base(tasks: TextTasks, folder: Path, begin: Begin) -> None:
    """Trains the language model and saves it."""
    torch.manual_seed(0)
    model, config = new_model()
    steps, batches = pretraining(tasks)
    losses = (language_loss(model, rows) for rows in batches)
    model.train()
    optimise(model.parameters(), losses, steps, BASE, "base", BETAS, begin(steps))
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    save(model.transformer, folder / WEIGHTS, BASE)


def train_task(
    tasks: TextTasks,
    task: str,
    base: Path,
    folder: Path,
    begin: Begin,
) -> float:
    """Fine-tunes all weights and a new head, and saves them.

    Returns the accuracy on the validation split.
    """
    from safetensors.torch import load_file

    torch.manual_seed(0)
    model, _ = new_model()
    model.transformer.load_state_dict(load_file(base / WEIGHTS))
    tokens = tasks.tokens(task, "train")
    model.score = nn.Linear(SIZES["n_embd"], int(tokens.labels.max()) + 1, bias=False)
    nn.init.normal_(model.score.weight, std=0.02)
    steps, batches = fine_tuning(task, tokens)
    losses = (functional.cross_entropy(model(ids), labels) for ids, labels in batches)
    model.train()
    optimise(model.parameters(), losses, steps, TASK, task, BETAS, begin(steps))
    model.eval()
    value = accuracy(model, tasks, task)
    save(model, folder / WEIGHTS, {**TASK, "validation_accuracy": value})
    return value


@torch.inference_mode()
def accuracy(model: Classifier, tasks: TextTasks, task: str) -> float:
    """The share of the validation split that the model classifies as it should."""
    grades: list[Tensor] = []
    for ids, labels in tasks.batches(task, "validation"):
        grades.append(tasks.grade(model(ids), labels))
    return float(torch.cat(grades).float().mean())


def save(module: nn.Module, path: Path, settings: object) -> None:
    """Writes a module's tensors, and in the metadata how they were trained."""
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        state[name] = tensor.detach().contiguous()
    write_tensors(path, state, {"recipe": json.dumps(settings), "format": "pt"})


def add_bar(display: Progress, name: str) -> Begin:
    """A new progress bar: what is called with the number of steps once it is known.

    That returns what is called with the loss of each step.
    """
    line = display.add_task(name, total=None, loss=math.nan)

    def begin(steps: int) -> OnStep:
        display.update(line, total=steps)
        return lambda loss: display.update(line, advance=1, loss=loss)

    return begin


def train_missing(tasks: TextTasks, out: Path, display: Progress) -> None:
    """Trains the base and every task whose file is not there."""
    base = out / "base"
    for name in ("base", *tasks.names):
        if (out / name / WEIGHTS).exists():
            continue
        start = time.perf_counter()
        outcome = ""
        if name == "base":
            train_base(tasks, base, add_bar(display, name))
        else:
            value = train_task(tasks, name, base, out / name, add_bar(display, name))
            outcome = f"validation accuracy {value:.3f}, "
        seconds = time.perf_counter() - start
        display.console.print(f"{name}: {outcome}{seconds:.0f} s")


def main() -> None:
    """Trains what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hub",
        required=True,
        help="a folder laid out like the hub, with the data sets",
    )
    parser.add_argument("--out", type=Path, default=Path("checkpoints/gpt2_small"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = options.out / "base"
    columns = (*Progress.get_default_columns(), "loss {task.fields[loss]:.3f}")
    with told_in_one_line():
        tasks = open_tasks(options.hub, options.out)
        if not (base / "vocab.json").exists():
            train_tokenizer(tasks, options.hub, base)
        with Progress(*columns) as display:
            train_missing(tasks, options.out, display)


if __name__ == "__main__":
    enter()
    main()
