"""Which tensors of a transformers model are matrices, for per-matrix methods.

What a model is told (`model.matrices`) counts first. Else a matrix is a tensor of two
axes whose name ends in `.weight`: a linear layer where it stands in a numbered block, a
table (an embedding, a head) where it does not. What a family stores otherwise stands in
the tables below, after its own code in transformers: layers of GPT-2's kind are stored
in x out, and some layers hold several matrices one above the other.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tadrop.types import MatrixLayout

# Conv1D layers, which store in x out, by model_type.
TRANSPOSED = {
    "gpt2": re.compile(r".*\.(c_attn|q_attn|c_proj|c_fc)\.weight"),
    "openai-gpt": re.compile(r".*\.(c_attn|c_proj|c_fc)\.weight"),
    "imagegpt": re.compile(r".*\.(c_attn|q_attn|c_proj|c_fc)\.weight"),
    "decision_transformer": re.compile(r".*\.(c_attn|q_attn|c_proj|c_fc)\.weight"),
}
# Layers that hold equal matrices one above the other: query, key and value, or a gate
# and what it gates.
FUSED = (
    (re.compile(r".*\.(c_attn|in_proj|qkv|Wqkv)\.weight"), 3),
    (re.compile(r".*\.in_proj_weight"), 3),
    (re.compile(r".*\.gate_up_proj\.weight"), 2),
)
# Models whose in_proj is the input and its gate.
GATED = ("mamba", "mamba2", "falcon_mamba", "jamba")
TABLES = re.compile(
    r".*(embed|wte|wpe|shared|lm_head|relative_attention_bias|position|token_type).*"
)
# Matrices of no linear layer: states of Mamba's kind.
NONE = re.compile(r".*\.(A_log|D|conv1d\.weight|dt_bias)")


def found(
    config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
) -> dict[str, MatrixLayout]:
    """The matrix layout of every tensor that is one, by name."""
    layouts: dict[str, MatrixLayout] = {}
    for name, shape in shapes.items():
        is_weight = name.endswith((".weight", "_weight")) and not NONE.fullmatch(name)
        if len(shape) == 2 and is_weight and min(shape) > 1:
            layouts[name] = _layout(config, name, shape)
    return layouts


def _layout(config: Mapping[str, Any], name: str, shape: Sequence[int]) -> MatrixLayout:
    in_block = any(map(str.isdigit, name.split(".")))
    if TABLES.fullmatch(name) or not in_block:
        return MatrixLayout("table")
    transposed = is_transposed(config, name)
    outputs = shape[1] if transposed else shape[0]
    blocks = _blocks(config, name)
    if outputs % blocks or not _are_equal(config, blocks):
        blocks = 1
    return MatrixLayout("linear", transposed, blocks)


def is_transposed(config: Mapping[str, Any], name: str) -> bool:
    """Whether a family's own code stores a layer in x out."""
    pattern = TRANSPOSED.get(str(config.get("model_type")))
    return pattern is not None and pattern.fullmatch(name) is not None


def _blocks(config: Mapping[str, Any], name: str) -> int:
    for pattern, count in FUSED:
        if pattern.fullmatch(name):
            gated = config.get("model_type") in GATED and name.endswith(
                "in_proj.weight"
            )
            return 2 if gated else count
    return 1


def _are_equal(config: Mapping[str, Any], blocks: int) -> bool:
    """Whether query, key and value have as many outputs each."""
    heads = config.get("num_attention_heads")
    keys = config.get("num_key_value_heads", heads)
    return blocks != 3 or heads == keys
