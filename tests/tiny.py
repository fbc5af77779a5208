"""A tiny model, tiny tasks and a bench over them: what methods that look at data are
tested on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tadrop.evaluation.bench import Bench, set_up
from tadrop.models.backbone import Backbone
from tadrop.models.matrices import matrix_layouts
from tadrop.numerics.seeds import generator
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.vectors.task_vectors import TaskVectors

WIDTH, CLASSES = 6, 4


class Net(nn.Module):
    """Two linear layers with a norm between them, and a head that each task brings."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(torch.tanh(self.norm(self.first(x)))))


def equip(module: nn.Module, private: Mapping[str, Tensor]) -> None:
    module.head.load_state_dict(
        {name.removeprefix("head."): tensor for name, tensor in private.items()}
    )


def normal(*shape: int, words: object) -> Tensor:
    return torch.from_numpy(generator("tiny", words, *shape).normal(size=shape)).float()


@dataclass(frozen=True)
class TinyTasks:
    """Gaussian inputs with a mean of each task's own; labels are whatever the
    individual model says.
    """

    names: tuple[str, ...]
    sizes: Mapping[str, int]
    metric: str = "accuracy"
    batch: int = 7

    def inputs(self, task: str, split: str) -> Tensor:
        return normal(self.sizes[split], 5, words=(task, split)) + 2 * normal(
            5, words=(task, "mean")
        )

    def batches(self, task, split):
        for part in self.inputs(task, split).split(self.batch):
            yield part, (part.sum(1) > 0).long()

    def grade(self, outputs, targets):
        return outputs.argmax(1) == targets

    def protocol(self):
        return "tiny"

    def measure(self, task, split, kept):
        return None

    def needs(self):
        return []

    def fingerprint(self, task, split):
        return f"{task}-{split}-{self.sizes[split]}"


def bench(
    folder: Path,
    tasks: int = 3,
    spread: float = 0.5,
    sizes: Mapping[str, int] | None = None,
) -> Bench:
    """A bench of so many tasks whose experts lie `spread` from the base, written to the
    folder.
    """
    state = {
        n: 0.5 * normal(*p.shape, words=n)
        for n, p in Net().named_parameters()
        if not n.startswith("head")
    }
    save_file(state, folder / "base.safetensors")
    names = tuple(f"t{i}" for i in range(tasks))
    for task in names:
        tensors = {
            n: t + spread * normal(*t.shape, words=(task, n)) for n, t in state.items()
        }
        heads = {
            "head.weight": normal(CLASSES, WIDTH, words=task),
            "head.bias": normal(CLASSES, words=task),
        }
        save_file(tensors | heads, folder / f"{task}.safetensors")
    backbone = Backbone(
        "tiny",
        str(folder / "base.safetensors"),
        str(folder / "{task}.safetensors"),
        Net,
        equip,
        ("head.*",),
        head="head",
        matrices=({"names": "first.weight"}, {"names": "second.weight"}),
    )
    experts = {task: backbone.open_expert(task) for task in names}
    suite = TinyTasks(names, sizes or {"train": 20, "validation": 10, "test": 24})
    return set_up(
        backbone,
        open_checkpoint(folder / "base.safetensors"),
        experts,
        suite,
        torch.device("cpu"),
    )


def stream(bench: Bench) -> TaskVectors:
    """The task vectors of a bench."""
    shapes = {name: tensor.shape for name, tensor in bench.base.tensors.items()}
    return TaskVectors(
        bench.base,
        bench.experts,
        ("head.*",),
        bench.device,
        matrix_layouts("tiny", bench.model.matrices, shapes),
    )
