"""Makes a task's checkpoint: fine-tunes a model's encoder with a named recipe.

    tadrop finetune model=dinov2_s14 recipe=small paths.hub=DIR      all of the task set
    tadrop finetune model=dinov2_s14 task=dtd recipe=small recipe.optimizer=sam paths.hub=DIR
    tadrop finetune model=vit_b32 model.projection=frozen task=mnist       CLIP, as the hub's

Recipes are the files of conf/finetune. The head is frozen: CLIP's comes from class
names, others are fitted on the base's features of the training images. A seeded tenth
of the training images is held out for validation and never trained on. Runs resume
where they stopped (DIR/NAME/.TASK.state) with the same batches; a checkpoint that exists
is kept. Beside each file, TASK.json says how it was made and what it scores on
validation; test images are not touched.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tadrop.app.console import err, out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.app.runs.opening import device_of
from tadrop.app.schema import commands
from tadrop.app.schema.telling import check_composed
from tadrop.evaluation.finetuning import (
    FinetuneRecipe,
    accuracy,
    pixels,
    shown_at,
    train_step,
)
from tadrop.models.model import Model, Trainable
from tadrop.models.private import PrivateTensors
from tadrop.models.weights import loaded, shared_tensors
from tadrop.numerics.seeds import generator
from tadrop.protocols.tasks import ImageTasks, Tasks
from tadrop.storage.checkpoint import Checkpoint, sha256
from tadrop.storage.files import write_atomically, write_tensors, write_text
from tadrop.types import TadropError

HEAD_IMAGES = 4000  # at most so many training images for fitting a head
RECENT = 50  # steps whose mean loss is shown


@dataclass
class Pupil:
    """What is trained on a task, and what stays as it is.

    slots:      where the tensors that are written lie in the module, by name
    parameters: the module's, that hold them
    head:       the task's private tensors
    """

    module: nn.Module
    base: Checkpoint
    slots: Mapping[str, Tensor]
    parameters: list[nn.Parameter]
    head: PrivateTensors


class Run:
    """The fine-tuning of one task.

    It is set up, resumed if it was interrupted, trained and written.
    """

    def __init__(self, cfg: DictConfig, model: Model, tasks: Tasks, task: str) -> None:
        if not isinstance(model, Trainable) or not isinstance(tasks, ImageTasks):
            raise TadropError(
                f"model={model.name} is not fine-tuned here; "
                "dinov2_s14 and the CLIP models are"
            )
        self.cfg, self.model, self.tasks, self.task = cfg, model, tasks, task
        self.keeps_heads, self.first_head = model.keeps_heads, model.first_head
        self.recipe = FinetuneRecipe(**cfg.recipe)
        self.device = device_of(cfg.device)
        folder = Path(cfg.paths.experts) / model.name
        self.target = folder / f"{task}.safetensors"
        self.state = folder / f".{task}.state"
        self.data = tasks.images(task, "train")

    def set_up(self) -> Pupil:
        """The base's weights, the task's head, and which tensors are trained."""
        base = self.model.open_base()
        torch.manual_seed(self.cfg.seed)
        module = loaded(self.model, base, self.device)
        head = self._head(module, base.path)
        self.model.equip(module, head)
        slots = self.model.slots(module)
        trained: dict[str, Tensor] = {}
        for name, tensor in shared_tensors(self.model, base):
            if tensor.is_floating_point():
                trained[name] = slots[name]
        parameters = list(_holding(module, trained))
        for parameter in parameters:
            parameter.requires_grad_(True)
        return Pupil(module, base, trained, parameters, head)

    def _head(self, module: nn.Module, source: Path) -> PrivateTensors:
        """The task's first head. source: the base, of whose features it is made."""
        order = generator("finetune-head", self.cfg.seed)
        rows = order.permutation(len(self.data.labels))[:HEAD_IMAGES]
        images = pixels(self.data.images, rows)
        labels = torch.from_numpy(self.data.labels[rows])
        head = self.first_head(module, images, labels, self.task)
        return PrivateTensors(source, head, self.model.private)

    @property
    def _made_by(self) -> dict[str, Any]:
        return {**vars(self.recipe), "seed": self.cfg.seed}

    def resume(self, pupil: Pupil, optimizer: torch.optim.Optimizer) -> int:
        """The step to go on with, its weights and moments in place."""
        if not self.state.exists():
            return 0
        state = torch.load(self.state, map_location=self.device, weights_only=True)
        if state["recipe"] != self._made_by:
            raise TadropError(
                f"{self.state}: is of another recipe; delete it or go on with that one"
            )
        with torch.no_grad():
            for parameter, value in zip(
                pupil.parameters, state["parameters"], strict=True
            ):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        return state["step"]

    def keep(self, pupil: Pupil, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Writes what is needed to go on after so many steps."""
        parts = {
            "recipe": self._made_by,
            "step": step,
            "parameters": [parameter.detach() for parameter in pupil.parameters],
            "optimizer": optimizer.state_dict(),
        }
        write_atomically(self.state, lambda path: torch.save(parts, path))

    def train(self, pupil: Pupil) -> dict[str, float]:
        """Takes all steps that are left; returns what to say of them."""
        recipe, words = self.recipe, (self.cfg.seed, self.task)
        optimizer = recipe.make(pupil.parameters)
        first, began = self.resume(pupil, optimizer), time.perf_counter()
        losses: list[float] = []
        for step in range(first, recipe.steps):
            images, labels = shown_at(self.data, step, recipe, words)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * recipe.factor(step)
            images, labels = images.to(self.device), labels.to(self.device)
            loss = train_step(pupil.module, pupil.parameters, images, labels, recipe)
            losses.append(loss)
            optimizer.step()
            optimizer.zero_grad()
            taken = step + 1
            if taken % self.cfg.save_every == 0 and taken < recipe.steps:
                self.keep(pupil, optimizer, taken)
                recent = np.mean(losses[-RECENT:])
                err.print(
                    f"{self.task}: step {taken} of {recipe.steps}, loss {recent:.3f}"
                )
        return {
            "first_step": first,
            "seconds": time.perf_counter() - began,
            "loss": float(np.mean(losses[-RECENT:])),
        }

    def write(self, pupil: Pupil, training: Mapping[str, float], before: float) -> None:
        """The checkpoint in the base's names, and how it was made."""
        written: dict[str, Tensor] = {}
        for name, slot in pupil.slots.items():
            written[name] = slot.detach().cpu().clone().contiguous()
        if self.keeps_heads:
            for name, tensor in pupil.head.items():
                written[name] = tensor.detach().cpu().contiguous()
        facts = {"task": self.task, "recipe": self.recipe.name}
        write_tensors(self.target, written, facts)
        after = self.validation(pupil)
        note = {
            "task": self.task,
            "model": self.model.name,
            "base": pupil.base.fingerprint(),
            "recipe": vars(self.recipe),
            "seed": self.cfg.seed,
            "threads": torch.get_num_threads(),  # on which the bits depend
            "data": self.tasks.fingerprint(self.task, "train"),
            "protocol": self.tasks.protocol(),
            "validation_before": before,
            "validation": after,
            "training": dict(training),
            "sha256": sha256(self.target),
        }
        write_text(self.target.with_suffix(".json"), json.dumps(note, indent=1) + "\n")
        self.state.unlink(missing_ok=True)
        out.print(
            f"{self.target}: validation {before:.1f} -> {after:.1f} %, "
            f"{training['seconds']:.0f} s, loss {training['loss']:.3f}",
            soft_wrap=True,
        )

    def validation(self, pupil: Pupil) -> float:
        """The accuracy on validation images, in percent."""
        return accuracy(pupil.module, self.tasks, self.task, "validation", self.device)

    def __call__(self) -> None:
        if self.target.exists():
            out.print(f"{self.target}: kept", soft_wrap=True)
            return
        pupil = self.set_up()
        before = self.validation(pupil)
        training = self.train(pupil)
        self.write(pupil, training, before)


def _holding(
    module: nn.Module, tensors: Mapping[str, Tensor]
) -> Iterator[nn.Parameter]:
    """The module's parameters that hold these tensors, which may be views of them."""
    addresses = {t.untyped_storage().data_ptr() for t in tensors.values()}
    for parameter in module.parameters():
        if parameter.untyped_storage().data_ptr() in addresses:
            yield parameter


def spelled(words: Sequence[str]) -> list[str]:
    """Words of the command line as Hydra takes them.

    recipe=NAME chooses a file of conf/finetune, whose settings are those of recipe.
    """
    plain: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        chooses = key in ("recipe", "finetune") and equals
        plain.append(f"finetune@recipe={value}" if chooses else word)
    return plain


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="finetune")
def _run(cfg: DictConfig) -> None:
    with told_in_one_line():
        check_composed(cfg, "finetune")
        config = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(config, dict)
        if cfg.task:
            config["tasks"]["names"] = [cfg.task]
        tasks = build.tasks(config["tasks"])
        model = build.model(config["model"]).bound(tasks)
        for task in tasks.names:
            Run(cfg, model, tasks, task)()


def main() -> None:
    """Fine-tunes what the words of the command line say."""
    with told_in_one_line():
        words = commands.spelled(spelled(sys.argv[1:]), "finetune")
        sys.argv = [sys.argv[0], *words]
    _run()


if __name__ == "__main__":
    main()
