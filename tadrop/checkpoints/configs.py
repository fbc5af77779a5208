"""Two configurations of an architecture, compared: what makes another function of it.

Shapes do not tell whether two models compute alike: heads of attention, positions and
activations stand in config.json alone.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tadrop.storage.torch_files.refusal import reading

# Words at the end of a key whose values must be equal.
ARCHITECTURE = re.compile(
    r"model_type|num_attention_heads|n_head|num_heads|num_key_value_heads|head_dim|d_kv"
    r"|hidden_act|hidden_activation|activation_function|feed_forward_proj"
    r"|position_embedding_type|layer_types|sliding_window|rope_theta|rope_type|rope_.*"
    r"|partial_rotary_factor|(rms_|layer_)?norm_eps(ilon)?|layer_norm_epsilon"
    r"|.*_multiplier|.*softcap(ping)?|num_experts_per_tok|norm_topk_prob|patch_size"
    r"|hidden_size|d_model|n_embd|num_hidden_layers|n_layer|num_layers|factor"
    r"|intermediate_size|image_size|query_pre_attn_scalar|scale_attn_weights"
)
# Words that say nothing about what a model computes for the same input.
WORDS = re.compile(
    r"max_position_embeddings|tie_word_embeddings|.*_token_id|image_mean|image_std"
    r"|id2label|label2id|problem_type|pooling_mode.*"
)


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json; empty where there is none."""
    file = folder / "config.json"
    if not file.is_file():
        return {}
    with reading(file):
        content = json.loads(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def differences(base: Mapping[str, Any], expert: Mapping[str, Any]) -> list[str]:
    """`key: the base's value against the
    expert's` for what must be equal and is not.
    """
    return _unlike(base, expert, ARCHITECTURE)


def doubts(base: Mapping[str, Any], expert: Mapping[str, Any]) -> list[str]:
    """The same for what may be meant: labels, special tokens, lengths."""
    return _unlike(base, expert, WORDS)


def _unlike(
    base: Mapping[str, Any],
    expert: Mapping[str, Any],
    words: re.Pattern[str],
) -> list[str]:
    if not base or not expert:
        return []
    ours, theirs = _normal(base), _normal(expert)
    told: list[str] = []
    for key in sorted({*ours, *theirs}):
        last = key.rpartition(".")[2]
        one, other = ours.get(key), theirs.get(key)
        known = key in ours and key in theirs
        # A newer library writes defaults that an older one leaves out.
        if known and one != other and words.fullmatch(last):
            told.append(f"{key}: {_short(one)} against {_short(other)}")
    return told


def _normal(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; rotary settings of either spelling under one."""
    flat = dict(_flat(config, ""))
    for key in list(flat):
        parent, _, last = key.rpartition(".")
        for word in ("rope_parameters", "rope_scaling"):
            if parent == word or parent.endswith(f".{word}"):
                above = parent.removesuffix(word)
                name = "rope_type" if last == "type" else last
                flat.setdefault(f"{above}{name}", flat.pop(key))
    return flat


def _flat(node: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        nested = isinstance(value, Mapping) and name not in (
            "id2label",
            "label2id",
        )
        if nested:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
