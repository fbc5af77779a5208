"""Models and what speaks for them, loaded by transformers from a folder.

Whatever is missing is told in one line of ours: which folder, and what to do.
"""

import json
from pathlib import Path
from typing import Any

from tadrop.checkpoints.tensors.talking import has_tokenizer
from tadrop.storage.torch_files.refusal import first_line, reading
from tadrop.types import TadropError

CONFIG, ADAPTER = "config.json", "adapter_config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder. Raises TadropError where there is none to be read."""
    if not has_tokenizer(folder):
        raise TadropError(
            f"{folder}: has no tokenizer; copy its base's into it (tokenizer.json), or "
            "merge with --tokenizer NAME"
        )
    return _loaded("AutoTokenizer", folder, "its tokenizer cannot be read")


def processor(folder: Path) -> Any:
    """The image processor in a folder. Raises TadropError where there is none."""
    if not any((folder / name).is_file() for name in PROCESSORS):
        raise TadropError(
            f"{folder}: has no image processor; copy its base's into it ({PROCESSORS[0]})"
        )
    return _loaded("AutoImageProcessor", folder, "its image processor cannot be read")


def config(folder: Path) -> Any:
    """What transformers makes of config.json in a folder."""
    about = f"its model_type {_model_type(folder)} is not known to transformers"
    return _loaded("AutoConfig", folder, about)


def language_model(folder: Path) -> Any:
    """The model in a folder, which goes on with a text."""
    return _model("AutoModelForCausalLM", folder, "language model")


def classifier(folder: Path) -> Any:
    """The model in a folder, which tells classes of images."""
    return _model("AutoModelForImageClassification", folder, "image classifier")


def _model(kind: str, folder: Path, what: str) -> Any:
    """A model with all its weights.

    Raises TadropError where some are missing, which would be drawn at random.
    """
    model_type = _model_type(folder)
    about = f"cannot be loaded as {what} (model_type {model_type})"
    model, report = _loaded(kind, folder, about, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise TadropError(f"{folder}: is no whole {what}: it has no {missing[0]}{more}")
    return model.eval()


def _model_type(folder: Path) -> str:
    """What config.json says. Raises TadropError where there is none."""
    if folder.is_file():
        raise TadropError(
            f"{folder}: is a file; name its folder, with {CONFIG} beside the weights"
        )
    file = folder / CONFIG
    if file.is_file():
        with reading(file):
            return str(json.loads(file.read_text(encoding="utf-8")).get("model_type"))
    if (folder / ADAPTER).is_file():
        raise TadropError(
            f"{folder}: is a LoRA folder; make a whole model of it first: "
            f"tadrop merge BASE {folder} -o FOLDER"
        )
    raise TadropError(
        f"{folder}: has no {CONFIG}; copy its base's into it, or leave the folder out"
    )


def _loaded(kind: str, folder: Path, told: str, **options: Any) -> Any:
    """Something of transformers from a folder, in one line of error where it fails."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        loader = getattr(transformers, kind)
        return loader.from_pretrained(str(folder), local_files_only=True, **options)
    # The library's exceptions are of many kinds; to the user they mean the same.
    except Exception as error:
        raise TadropError(f"{folder}: {told}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first sentence of what the library says, which may go on for long."""
    return first_line(error).split(". ")[0].split(" <class")[0].rstrip(" .:")
