"""Trains a small GPT-2 from nothing and fine-tunes it on seven text tasks: the language
path on real text, offline.

    python -m experiments.train_small_gpt2 --hub DIR [--out checkpoints/gpt2_small]
    [--threads 2]

DIR is laid out like the hub and holds the data sets of conf/tasks/text7.yaml. A
byte-level BPE is trained on the training sentences, then a language model on their
tokens, then a classifier per task. A file that exists is kept, so an interrupted run
goes on where it stopped. Then: python run.py model=gpt2_small paths.hub=DIR
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from rich.progress import Progress, TaskID
from torch import Tensor, nn
from torch.nn import functional

from tadrop.app import build
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.models.gpt2 import Classifier
from tadrop.numerics.seeds import generator
from tadrop.storage.files import write_tensors, write_text
from tadrop.tasks.glue import TextTasks
from tadrop.tasks.reading.tokens import Tokens, pad, read_rows

SIZES = {
    "vocab_size": 4096,
    "n_positions": 256,
    "n_embd": 128,
    "n_layer": 4,
    "n_head": 4,
}
BASE = {"epochs": 2, "rate": 2e-3, "decay": 0.1, "window": 128, "batch": 32}
TASK = {"epochs": 3, "rate": 5e-4, "decay": 0.05, "batch": 32}
END = "<|endoftext|>"


def open_tasks(hub: str, out: Path) -> TextTasks:
    """The tasks of the configuration, read with the tokenizer that is trained here."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        places = [
            f"paths.hub={hub}",
            f"paths.cache={out / 'cache'}",
            f"model.base={out / 'base'}",
        ]
        return build.tasks(compose("config", ["model=gpt2_small", *places]).tasks)


def train_tokenizer(tasks: TextTasks, hub: str, folder: Path) -> None:
    """A byte-level BPE in GPT-2's files, trained on the training sentences of all
    tasks.
    """
    from tokenizers import ByteLevelBPETokenizer

    texts: list[str] = []
    for task in tasks.names:
        source = tasks.source(task)
        columns, _ = read_rows(source.files(source.train, hub), source.columns)
        texts += [text for column in columns for text in column]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts, SIZES["vocab_size"], special_tokens=[END], show_progress=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    write_text(
        folder / "tokenizer_config.json",
        json.dumps({"tokenizer_class": "GPT2Tokenizer"}),
    )


def new_model() -> tuple[Classifier, dict]:
    """A fresh transformer with GPT-2's own initialisation, and its configuration."""
    from transformers import GPT2Config, GPT2Model

    drop = {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
    config = GPT2Config(**SIZES, **drop, bos_token_id=0, eos_token_id=0)
    return Classifier(GPT2Model(config), SIZES["n_embd"]), config.to_diff_dict()


def windows(tasks: TextTasks) -> Tensor:
    """All training texts, shuffled, joined by the end token and cut to [window, BASE
    window + 1].
    """
    texts = []
    for task in tasks.names:
        tokens = tasks.tokens(task, "train")
        texts += [
            torch.cat([row, row.new_zeros(1)])
            for row in torch.tensor_split(tokens.ids, tokens.ends[:-1])
        ]
    order = generator("train_small_gpt2", "order").permutation(len(texts))
    stream = torch.cat([texts[i] for i in order]).long()
    length = BASE["window"] + 1
    return stream[: len(stream) // length * length].view(-1, length)


def pretraining(tasks: TextTasks) -> tuple[int, Iterator[Tensor]]:
    """How many steps there are, and the batches of windows."""
    rows = windows(tasks)
    per_epoch = len(rows) // BASE["batch"]

    def draw() -> Iterator[Tensor]:
        for epoch in range(BASE["epochs"]):
            order = generator("train_small_gpt2", "base", epoch).permutation(len(rows))
            for at in range(per_epoch):
                yield rows[order[at * BASE["batch"] : (at + 1) * BASE["batch"]]]

    return BASE["epochs"] * per_epoch, draw()


def fine_tuning(
    task: str, tokens: Tokens
) -> tuple[int, Iterator[tuple[Tensor, Tensor]]]:
    """How many steps there are, and the batches: texts of like length together, batches
    in random order.
    """
    lengths = np.diff(tokens.ends.numpy(), prepend=0)
    per_epoch = math.ceil(len(lengths) / TASK["batch"])

    def draw() -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in range(TASK["epochs"]):
            rng = generator("train_small_gpt2", task, epoch)
            order = np.argsort(lengths + rng.uniform(0, 8, len(lengths)), kind="stable")
            for rows in (
                order[at * TASK["batch"] :][: TASK["batch"]]
                for at in rng.permutation(per_epoch)
            ):
                yield pad(tokens, rows), tokens.labels[torch.from_numpy(rows)]

    return TASK["epochs"] * per_epoch, draw()


def optimise(
    model: nn.Module, losses: Iterator[Tensor], steps: int, recipe: dict, tick
) -> None:
    """AdamW, a tenth of the steps as warm-up, cosine to zero, gradient clip 1."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        recipe["rate"],
        betas=(0.9, 0.98),
        weight_decay=recipe["decay"],
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min(
            (i + 1) / (0.1 * steps), 0.5 * (1 + math.cos(math.pi * i / steps))
        ),
    )
    model.train()
    for loss in losses:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tick(loss.item())
    model.eval()


def language_loss(model: Classifier, rows: Tensor) -> Tensor:
    """Cross-entropy of the next token, by the tied embedding."""
    hidden = model.transformer(rows[:, :-1], use_cache=False).last_hidden_state
    logits = functional.linear(hidden, model.transformer.wte.weight)
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def train_base(tasks: TextTasks, folder: Path, bar: Progress, line: TaskID) -> None:
    torch.manual_seed(0)
    model, config = new_model()
    steps, batches = pretraining(tasks)
    optimise(
        model,
        (language_loss(model, rows) for rows in batches),
        steps,
        BASE,
        ticker(bar, line, steps),
    )
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    save(model.transformer, folder / "model.safetensors", BASE)


def train_task(
    tasks: TextTasks, task: str, base: Path, folder: Path, bar: Progress, line: TaskID
) -> float:
    """Fine-tunes all weights and a new head; saves them and returns the validation
    accuracy.
    """
    from safetensors.torch import load_file

    torch.manual_seed(0)
    model, _ = new_model()
    model.transformer.load_state_dict(load_file(base / "model.safetensors"))
    tokens = tasks.tokens(task, "train")
    model.score = nn.Linear(SIZES["n_embd"], int(tokens.labels.max()) + 1, bias=False)
    nn.init.normal_(model.score.weight, std=0.02)
    steps, batches = fine_tuning(task, tokens)
    losses = (functional.cross_entropy(model(ids), labels) for ids, labels in batches)
    optimise(model, losses, steps, TASK, ticker(bar, line, steps))
    with torch.inference_mode():
        right = torch.cat(
            [tasks.grade(model(x), y) for x, y in tasks.batches(task, "validation")]
        )
    save(
        model,
        folder / "model.safetensors",
        TASK | {"validation_accuracy": float(right.float().mean())},
    )
    return float(right.float().mean())


def ticker(bar: Progress, line: TaskID, steps: int):
    """A function to call with each step's loss."""
    bar.update(line, total=steps)
    return lambda loss: bar.update(line, advance=1, loss=loss)


def save(model: nn.Module, path: Path, recipe: dict) -> None:
    tensors = {
        name: tensor.detach().contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_tensors(path, tensors, {"recipe": json.dumps(recipe), "format": "pt"})


def main() -> None:
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
        with Progress(*columns) as bar:
            for name in ("base", *tasks.names):
                if (options.out / name / "model.safetensors").exists():
                    continue
                line, start = (
                    bar.add_task(name, total=None, loss=math.nan),
                    time.perf_counter(),
                )
                if name == "base":
                    train_base(tasks, base, bar, line)
                    bar.console.print(f"base: {time.perf_counter() - start:.0f} s")
                else:
                    value = train_task(tasks, name, base, options.out / name, bar, line)
                    bar.console.print(
                        f"{name}: validation accuracy {value:.3f}, {time.perf_counter() - start:.0f} s"
                    )


if __name__ == "__main__":
    main()
