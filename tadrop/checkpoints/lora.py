"""LoRA adapters as PEFT saves them, as experts: theta0 + scale * B A, made when read.

The folder holds adapter_config.json and adapter_model.safetensors (or .bin). The scale
is alpha / r, with rsLoRA alpha / sqrt(r); DoRA's is applied by its formula. Modules that
were trained whole (`modules_to_save`, biases) stand for themselves. Everything is
computed in float32 and nothing is rounded, one tensor at a time. An adapter that does
more than this is refused by the word that says so.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.checkpoints.made import Maker, empty
from tadrop.storage.checkpoint import Checkpoint, locate, open_checkpoint
from tadrop.storage.torch_files.refusal import reading
from tadrop.types import TadropError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
FACTOR = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_(embedding_)?[AB]|lora_magnitude_vector)"
    r"(\.(?!weight$|bias$)(?P<adapter>[^.]+))?(\.(?P<end>weight|bias))?"
)
SAVED = re.compile(r"\.modules_to_save(\.(?!weight$|bias$)[^.]+(?=\.))?")
# Ways to begin with that changed the base: what is saved is no change of BASE.
CHANGED_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq", "eva")
UNKNOWN = (
    *("alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("megatron_config", "use_qalora", "use_bdlora", "arrow_config", "kasa_config"),
    *("monteclora_config", "trainable_token_indices"),
)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a whole model."""
    if not (folder / CONFIG).is_file():
        return False
    try:
        locate(folder)
    except TadropError:
        return True
    return False


@dataclass
class Module:
    """What an adapter has for one module of the base.

    parts: A and B [r, in] and [out, r], or embedding_A and embedding_B; m; bias
    scale: what their product is multiplied by
    """

    name: str
    parts: dict[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, read.

    modules: by the name that the module has in the model that was adapted
    values:  tensors that were trained whole, by name
    seen:    see Checkpoint
    """

    path: Path
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    modules: Mapping[str, Module]
    values: Mapping[str, Tensor]
    seen: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def targets(self) -> dict[str, str]:
        """The base's tensor that each module changes, by the module's name."""
        found: dict[str, str] = {}
        for name in self.modules:
            found[name] = f"{name}.weight"
        return found


def open_adapter(folder: Path) -> Adapter:
    """Reads a folder. Raises TadropError for a kind of adapter that is not known."""
    with reading(folder / CONFIG):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _check_kind(folder, config)
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise TadropError(
            f"{folder}: none of {', '.join(WEIGHTS)} is in this directory"
        )
    stored = open_checkpoint(file)
    modules: dict[str, Module] = {}
    values: dict[str, Tensor] = {}
    adapters: set[str] = set()
    for name, tensor in {**stored.tensors, **_aliased(stored)}.items():
        plain = name.removeprefix(PREFIX)
        factor = FACTOR.fullmatch(plain)
        if factor is None:
            if ".original_module." not in plain:
                saved = SAVED.sub("", plain).replace(".base_layer.", ".")
                values[saved] = tensor
            continue
        adapters.add(factor["adapter"] or "default")
        module = modules.setdefault(factor["module"], Module(factor["module"]))
        part = factor["part"].removeprefix("lora_")
        module.parts["bias" if factor["end"] == "bias" else part] = tensor
    if len(adapters) > 1:
        raise TadropError(
            f"{file}: holds several adapters ({', '.join(sorted(adapters))}); "
            "save the one that is meant alone"
        )
    for module in modules.values():
        _settle(folder, config, module)
    return Adapter(folder, stored.files, config, modules, values, stored.seen)


def _aliased(stored: Checkpoint) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for alias, name in stored.aliases.items():
        found[alias] = stored[name]
    return found


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises TadropError for an adapter that is more or other than LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise TadropError(
            f"{folder}: peft_type is {kind}; of adapters only LORA is merged, "
            "merge it into its base (merge_and_unload) and save the model"
        )
    begun = str(config.get("init_lora_weights", True)).lower()
    if begun.startswith(CHANGED_BASE):
        raise TadropError(
            f"{folder}: init_lora_weights is {begun}, which changed the base too; "
            "save it with path_initial_model_for_weight_conversion first"
        )
    for word in UNKNOWN:
        if config.get(word):
            raise TadropError(
                f"{folder}: {word} is set, which is not known here; "
                "merge it into its base (merge_and_unload) and save the model"
            )


def _settle(folder: Path, config: Mapping[str, Any], module: Module) -> None:
    """Checks a module's parts and sets its scale."""
    kind = "embedding_" if "embedding_A" in module.parts else ""
    a, b = module.parts.get(f"{kind}A"), module.parts.get(f"{kind}B")
    if a is None or b is None:
        raise TadropError(
            f"{folder}: {module.name!r} has lora_A or lora_B and not both; "
            "save the adapter again"
        )
    if a.dim() < 2 or b.dim() < 2 or not a.numel() or not b.numel():
        raise TadropError(
            f"{folder}: {module.name!r} has factors of shapes {list(a.shape)} and "
            f"{list(b.shape)}; gather the weights of all processes before saving"
        )
    rank = _pattern(config.get("rank_pattern"), module.name, config.get("r", 8))
    alpha = _pattern(
        config.get("alpha_pattern"), module.name, config.get("lora_alpha", 8)
    )
    if a.shape[0] != rank or b.shape[1] != rank:
        raise TadropError(
            f"{folder}: {module.name!r} has rank {a.shape[0]}, and {CONFIG} says {rank}"
        )
    below = math.sqrt(rank) if config.get("use_rslora") else rank
    module.scale = alpha / below


def _pattern(patterns: Mapping[str, Any] | None, module: str, usual: Any) -> Any:
    """The value of the first pattern that a module's name fits, as PEFT looks it up."""
    for key, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            return value
    return usual


def materialised(
    adapter: Adapter,
    base: Mapping[str, Tensor],
    names: Mapping[str, str],
    transposed: Sequence[str],
) -> tuple[dict[str, Maker], dict[str, Tensor]]:
    """How each tensor that the adapter changes is made, and an empty one like it.

    names:      the base's tensor for a module, {module: tensor}
    transposed: tensors that are stored in x out where their shape does not tell
    Raises TadropError for a module that the base does not have.
    """
    makers: dict[str, Maker] = {}
    likes: dict[str, Tensor] = {}
    for module in adapter.modules.values():
        name = names[module.name]
        if name not in base:
            raise TadropError(
                f"{adapter.path}: adapts {module.name!r}, and the base has no {name!r}; "
                "is this the base that it was trained on?"
            )
        theta0 = base[name]
        check = _delta_shape(module, theta0, name in transposed)
        if check is None:
            raise TadropError(
                f"{adapter.path}: {module.name!r} does not fit the base's {name!r} of "
                f"shape {list(theta0.shape)}; is this the base that it was trained on?"
            )
        makers[name] = _maker(adapter.path, module, theta0, name in transposed)
        likes[name] = empty(theta0.float() if theta0.is_meta else theta0).float()
        bias = name.removesuffix("weight") + "bias"
        if "bias" in module.parts:
            if bias not in base:
                raise TadropError(
                    f"{adapter.path}: {module.name!r} has a bias (lora_bias), and the "
                    f"base has no {bias!r} to add it to; train without lora_bias"
                )
            makers[bias] = _biased(module, base[bias])
            likes[bias] = empty(base[bias]).float()
    return makers, likes


def _maker(path: Path, module: Module, theta0: Tensor, transposed: bool) -> Maker:
    """How one tensor is made. Raises TadropError
    for DoRA of what is no linear layer.
    """
    magnitude = module.parts.get("magnitude_vector")
    if magnitude is None:
        return lambda: theta0.float() + delta(module, theta0, transposed)
    if "A" not in module.parts or module.parts["A"].dim() != 2:
        raise TadropError(
            f"{path}: {module.name!r} has DoRA on another layer than a linear one; "
            "merge it into its base (merge_and_unload) and save the model"
        )
    upright = _is_upright(module, theta0, transposed)

    def turned() -> Tensor:
        """Each output's weights, of the length that was trained."""
        weights = theta0.float() + delta(module, theta0, transposed)
        axis = 1 if upright else 0
        lengths = weights.norm(dim=axis, keepdim=True)
        target = magnitude.float().reshape(-1, 1 if upright else magnitude.numel())
        return weights * (target / lengths)

    return turned


def _biased(module: Module, theta0: Tensor) -> Maker:
    return lambda: theta0.float() + module.scale * module.parts["bias"].float()


def delta(module: Module, theta0: Tensor, transposed: bool = False) -> Tensor:
    """What a module adds to the base's tensor, float32, in that tensor's shape.

    transposed: whether a square matrix is stored in x out
    """
    if "embedding_A" in module.parts:
        a, b = (
            module.parts["embedding_A"].float(),
            module.parts["embedding_B"].float(),
        )
        return module.scale * (b @ a).mT
    a, b = module.parts["A"].float(), module.parts["B"].float()
    if a.dim() == 4:
        return module.scale * torch.einsum("orxy,rihw->oihw", b, a)
    product = module.scale * (b @ a)
    return product if _is_upright(module, theta0, transposed) else product.mT


def _is_upright(module: Module, theta0: Tensor, transposed: bool) -> bool:
    """Whether the base stores the matrix out x in; its shape tells, unless square."""
    out, into = module.parts["B"].shape[0], module.parts["A"].shape[1]
    if out == into:
        return not transposed
    return list(theta0.shape) == [out, into]


def _delta_shape(module: Module, theta0: Tensor, transposed: bool) -> list[int] | None:
    """The shape of the delta where it is the base's; None where it does not fit."""
    parts, shape = module.parts, list(theta0.shape)
    if "embedding_A" in parts:
        fits = [parts["embedding_A"].shape[1], parts["embedding_B"].shape[0]] == shape
    elif parts["A"].dim() == 4:
        inner = list(parts["A"].shape[1:])
        fits = [parts["B"].shape[0], *inner] == shape
    else:
        ends = [parts["B"].shape[0], parts["A"].shape[1]]
        fits = shape in (ends, ends[::-1])
    return shape if fits else None
