"""What stands beside weights: configuration, tokenizer, processors, licence.

Whatever from_pretrained, sentence-transformers and servers look for is copied from the
checkpoint's folder; what would mislead them (an adapter's settings, a trainer's state)
is not.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from tadrop.merging.modules import WEIGHTS, folders_of, modules
from tadrop.storage.checkpoint import INDEX, Beside, Checkpoint
from tadrop.storage.folders import NOTE
from tadrop.storage.torch_files.refusal import reading

# The endings of configuration and tokenizer files, and names of others.
COPIED = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    "*.py",
    "*.spm",
)
LICENCES = ("LICENSE*", "NOTICE*", "COPYING*", "USE_POLICY*")
NEVER = (
    *(
        "adapter_config.json",
        "quantize_config.json",
        "hf_quant_config.json",
    ),
    *("trainer_state.json", "all_results.json", "train_results.json"),
    *(
        "eval_results.json",
        "training_args.*",
        "optimizer.*",
        "scheduler.*",
    ),
    *("README*", "requirements*.txt", "tadrop.yaml", f"*{INDEX}", NOTE),
)
FOLDERS = ("additional_chat_templates", "custom_generate")
TOKENIZER = (
    *(
        "tokenizer*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.*",
    ),
    *(
        "merges.txt",
        "*.spm",
        "*.tiktoken",
        "spiece.model",
        "sentencepiece*.model",
    ),
    *(
        "chat_template*",
        "additional_chat_templates",
        "generation_config.json",
    ),
    *("target_vocab.json", "source.spm", "dict.txt"),
)


def copied(checkpoint: Checkpoint) -> list[Path]:
    """Every file that is copied, as it lies now."""
    found: list[Path] = []
    for _, file in _chosen(checkpoint):
        found.append(file)
    return found


def names_beside(checkpoint: Checkpoint) -> set[str]:
    """What files and folders copied beside a checkpoint's weights are called."""
    found: set[str] = set()
    for name, _ in _chosen(checkpoint):
        found.add(name.parts[0])
    if checkpoint.beside.template is not None:
        found.add("chat_template.jinja")
    return found


def copy_beside(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Copies what stands beside a checkpoint into a folder; links become files.

    dtype: named in config.json in the place of its own
    """
    for name, file in _chosen(checkpoint):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    beside = checkpoint.beside
    changes = dict(beside.config)
    if dtype is not None:
        changes["dtype"] = str(dtype).removeprefix("torch.")
    _change_config(folder / "config.json", changes)
    _add_tokens(folder, beside)
    if beside.template is not None:
        _set_template(folder, beside.template)


def _set_template(folder: Path, template: str) -> None:
    """Writes a chat template, and takes away what stands in its place elsewhere."""
    (folder / "chat_template.json").unlink(missing_ok=True)
    config = folder / "tokenizer_config.json"
    if config.is_file():
        with reading(config):
            content = json.loads(config.read_text(encoding="utf-8"))
        if content.pop("chat_template", None) is not None:
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            config.write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _chosen(checkpoint: Checkpoint) -> Iterator[tuple[Path, Path]]:
    """(name in OUT, file) of all that is copied."""
    beside = checkpoint.beside
    folder = beside.folder or checkpoint.path
    if not folder.is_dir():
        return
    donor = beside.tokenizer
    merged = folders_of(checkpoint.tensors)
    for name in _names(folder):
        is_merged = name.parts[0] in merged and name.name in WEIGHTS
        is_donor_s = donor is not None and _fits(name.parts[0], TOKENIZER)
        if not is_merged and not is_donor_s:
            yield name, folder / name
    if donor is not None:
        for name in _names(donor):
            if _fits(name.parts[0], TOKENIZER):
                yield name, donor / name


def _names(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        wanted = _fits(file.name, (*COPIED, *LICENCES)) and not _fits(file.name, NEVER)
        if file.is_file() and wanted:
            yield Path(file.name)
    for inner in (*FOLDERS, *modules(folder)):
        for file in sorted((folder / inner).glob("*")):
            if file.is_file():
                yield Path(inner) / file.name


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _change_config(config: Path, changes: Mapping[str, Any]) -> None:
    """Writes values into config.json, where it is there: of keys that it has.

    A dtype goes by either of its names, a vocabulary's size also into the part that a
    text model has of its own.
    """
    if not config.is_file() or not changes:
        return
    with reading(config):
        content = json.loads(config.read_text(encoding="utf-8"))
    for key, value in changes.items():
        names = ("torch_dtype", "dtype") if key == "dtype" else (key,)
        parts = [
            content,
            *(one for one in content.values() if isinstance(one, dict)),
        ]
        for name in names:
            for part in parts:
                if name in part:
                    part[name] = value
        if key not in content and isinstance(value, bool):
            content[key] = value
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    config.write_text(text, encoding="utf-8")


def _add_tokens(folder: Path, beside: Beside) -> None:
    """Adds tokens of other vocabularies to a tokenizer."""
    if not beside.tokens:
        return
    whole, added = (
        folder / "tokenizer.json",
        folder / "added_tokens.json",
    )
    if whole.is_file():
        content = json.loads(whole.read_text(encoding="utf-8"))
        content["added_tokens"] = [
            *content.get("added_tokens", ()),
            *beside.tokens,
        ]
    else:
        content = {}
        if added.is_file():
            content = json.loads(added.read_text(encoding="utf-8"))
        content |= {entry["content"]: entry["id"] for entry in beside.tokens}
        whole = added
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    whole.write_text(text, encoding="utf-8")
