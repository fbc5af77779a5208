"""What kinds of tensors a checkpoint holds: weights, buffers, quantised codes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from tadrop.types import TadropError

# Buffers that a model makes anew, or counts: the base's stay, whatever the experts have.
CONSTANTS = re.compile(
    r"(.*\.)?(position_ids|(original_)?inv_freq|relative_position_index"
    r"|relative_coords_table|masked_bias|num_batches_tracked|num_updates|version)"
)
# Causal masks of GPT-2's kind share their name with true biases, and have four axes.
MASKS = re.compile(r"(.*\.)?(attn|attention)\.bias")
# What normalisation layers measured on the data that their model saw.
STATISTICS = re.compile(r"(.*\.)?running_(mean|var)")
# Tensors beside which codes of few bits stand in the place of weights.
QUANTISED = re.compile(
    r"(.*[._])?(qweight|qzeros|g_idx|weight_packed|weight_scale(_inv)?|input_scale"
    r"|activation_scale|absmax|quant_map|quant_state\..*|SCB|blocks|scales)"
)
DEQUANTISE = "load it dequantised and save it in float32, float16 or bfloat16"


def is_constant(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is a buffer that no training moves."""
    if MASKS.fullmatch(name):
        return tensor.dim() == 4
    return CONSTANTS.fullmatch(name) is not None


def is_statistic(name: str) -> bool:
    """Whether a tensor is a running mean or variance of activations."""
    return STATISTICS.fullmatch(name) is not None


def check_not_quantised(
    where: object, config: Mapping[str, Any], names: Iterable[str]
) -> None:
    """Raises TadropError for a checkpoint whose weights are codes of few bits.

    Averaged scales beside another model's codes are garbage, even where shapes fit.
    """
    settings = config.get("quantization_config")
    if settings:
        how = settings.get("quant_method") if isinstance(settings, Mapping) else None
        raise TadropError(
            f"{where}: its weights are quantised (quantization_config in config.json, "
            f"{how or 'of an unnamed kind'}), and codes cannot be merged; {DEQUANTISE}"
        )
    for name in names:
        if QUANTISED.fullmatch(name):
            raise TadropError(
                f"{where}: its weights are quantised (tensor {name!r}), and codes "
                f"cannot be merged; {DEQUANTISE}"
            )
