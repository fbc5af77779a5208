"""A tiny folder laid out like the hub: a random GPT-2, fine-tunings of it, a byte-level
BPE and parquet GLUE.
"""

import json
from pathlib import Path

import numpy as np
import torch

from tadrop.numerics.seeds import generator

GLUE = {
    "cola": (["sentence"], ["validation"], 2),
    "mnli": (
        ["premise", "hypothesis"],
        ["validation_matched", "validation_mismatched"],
        3,
    ),
    "mrpc": (["sentence1", "sentence2"], ["validation"], 2),
    "qnli": (["question", "sentence"], ["validation"], 2),
    "qqp": (["question1", "question2"], ["validation"], 2),
    "rte": (["sentence1", "sentence2"], ["validation"], 2),
    "sst2": (["sentence"], ["validation"], 2),
}
WORDS = [
    "a",
    "the",
    "old",
    "new",
    "red",
    "cat",
    "dog",
    "boat",
    "tree",
    "runs",
    "sees",
    "not",
    "near",
    "often",
    "café",
    "naïve",
]


def sentence(rng: np.random.Generator, longest: int = 30) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(1, longest))) + rng.choice(
        [".", "?", "!"]
    )


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE as GPT-2's files hold it."""
    from tokenizers import ByteLevelBPETokenizer

    rng = generator("tests", "tokenizer")
    tokenizer = ByteLevelBPETokenizer()
    texts = [sentence(rng) for _ in range(200)]
    tokenizer.train_from_iterator(
        texts, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer"})
    )


def write_glue(folder: Path, rows: int = 12) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for task, (columns, tests, classes) in GLUE.items():
        for split in ("train", *tests):
            rng = generator("tests", task, split)
            table = {}
            for column in columns:
                table[column] = [sentence(rng) for _ in range(rows)]
            table |= {"label": rng.integers(0, classes, rows), "idx": np.arange(rows)}
            (folder / task).mkdir(parents=True, exist_ok=True)
            pq.write_table(
                pa.table(table), folder / task / f"{split}-00000-of-00001.parquet"
            )


def config(**changes):
    from transformers import GPT2Config

    sizes = {
        "vocab_size": 400,
        "n_positions": 512,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
    }
    return GPT2Config(**sizes | {"bos_token_id": 0, "eos_token_id": 0} | changes)


def write_models(folder: Path, tasks: dict[str, int]) -> None:
    """A base and experts.

    The base is as GPT2LMHeadModel's hub file has it (no prefix, mask buffers), experts
    are as transformers saves them.
    """
    from safetensors.torch import save_file
    from transformers import GPT2ForSequenceClassification, GPT2Model

    torch.manual_seed(0)
    base = GPT2Model(config())
    target = folder / "openai-community" / "gpt2"
    target.mkdir(parents=True, exist_ok=True)
    masks = {
        f"h.{layer}.attn.bias": torch.ones(1, 1, 8, 8).tril() for layer in range(2)
    }
    save_file(
        {n: t.contiguous() for n, t in base.state_dict().items()} | masks,
        target / "model.safetensors",
    )
    (target / "config.json").write_text(json.dumps(base.config.to_diff_dict()))
    for task, classes in tasks.items():
        expert = GPT2ForSequenceClassification(
            config(num_labels=classes, pad_token_id=0)
        )
        expert.transformer.load_state_dict(base.state_dict())
        with torch.no_grad():
            for parameter in expert.transformer.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            expert.score.weight.normal_()
        expert.save_pretrained(folder / "tanganke" / f"gpt2_{task}")


def write(folder: Path) -> Path:
    """The whole folder; returns it."""
    sizes = {task: classes for task, (_, _, classes) in GLUE.items()}
    write_models(folder / "models", sizes)
    write_tokenizer(folder / "models" / "openai-community" / "gpt2")
    write_glue(folder / "datasets" / "nyu-mll" / "glue")
    return folder
