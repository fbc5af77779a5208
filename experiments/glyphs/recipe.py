"""The settings of the embedded checkpoints, and those of the trials before them."""

from dataclasses import dataclass

BATCH = 128


@dataclass(frozen=True)
class BaseRecipe:
    """How the base is trained: AdamW at `rate`, `steps` batches of so many images."""

    steps: int = 6000
    images: int = 96_000
    rate: float = 1e-3
    decay: float = 0.05
    optimizer: str = "adamw"


@dataclass(frozen=True)
class TaskRecipe:
    """How a task's model is fine-tuned.

    optimizer:   sgd or adamw
    temperature: the loss is that of the logits divided by it: a high one goes on pushing
                 where a task is already solved
    rehearsed:   images of the base's own beside each batch, of all characters, so that
                 what is learnt disturbs little else
    frozen:      the first parts of tensors' names that stay as the base has them
    """

    steps: int = 192
    rate: float = 0.1
    decay: float = 0.0
    optimizer: str = "sgd"
    temperature: float = 3.0
    rehearsed: int = 32
    frozen: tuple[str, ...] = ("stem", "position")
