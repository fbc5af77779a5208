"""A GPT-2 of random weights and sentences of random words, laid out like the hub."""

import json
from pathlib import Path

from tadrop.numerics.seeds import generator
from tadrop.storage.files import write_tensors, write_text

WORDS = 3_000  # in the vocabulary
LONGEST = 120  # words of a sentence


def write_model(folder: Path) -> None:
    """GPT-2 small, its base and one classifier, with random weights.

    Its tokenizer is a byte-level BPE that is trained on a few of the sentences.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config()
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    expert: dict[str, torch.Tensor] = {}
    for name, tensor in GPT2Model(config).state_dict().items():
        state[name] = tensor.contiguous()
        expert[f"transformer.{name}"] = state[name]
    expert["score.weight"] = torch.randn(2, config.n_embd)
    base = folder / "models" / "openai-community" / "gpt2"
    write_tensors(base / "model.safetensors", state)
    write_text(base / "config.json", json.dumps(config.to_diff_dict()))
    classifier = folder / "models" / "tanganke" / "gpt2_sst2"
    write_tensors(classifier / "model.safetensors", expert)

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        sentences(2_000), vocab_size=4_000, show_progress=False
    )
    tokenizer.save_model(str(base))
    kind = {"tokenizer_class": "GPT2Tokenizer"}
    write_text(base / "tokenizer_config.json", json.dumps(kind))


def sentences(count: int) -> list[str]:
    """Sentences of random words, as long as GLUE's.

    Lengths are log-normal, 19 words in the middle, at most LONGEST.
    """
    rng = generator("benchmark_text")
    letters = list("etaoinshrdlu")
    words: list[str] = []
    for _ in range(WORDS):
        words.append("".join(rng.choice(letters, rng.integers(1, 9))))
    lengths = rng.lognormal(2.9, 0.5, count).astype(int).clip(1, LONGEST)
    return [" ".join(rng.choice(words, length)) + "." for length in lengths]


def write_sentences(folder: Path, count: int) -> None:
    """The validation split of SST-2, with sentences of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = folder / "datasets" / "nyu-mll" / "glue" / "sst2"
    target.mkdir(parents=True)
    labels = [number % 2 for number in range(count)]
    table = pa.table({"sentence": sentences(count), "label": labels})
    pq.write_table(table, target / "validation-00000-of-00001.parquet")
