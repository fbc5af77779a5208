"""A base or an expert that lacks a tensor is refused by name, whatever the model.

What no file fills would stay as the library made it, at random, and be evaluated or
trained all the same.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from tadrop.app.runs import build, opening
from tadrop.app.verbs.finetune import Run
from tadrop.models.weights import loaded
from tadrop.types import TadropError
from tadrop.vectors.names import is_private
from tests.models.worlds import KINDS, TRAINED, configured


def evaluated(cfg) -> None:
    """Opens the bench and puts every task's head in, as an evaluation does."""
    opening._open_bench.cache_clear()
    bench, _ = opening.open_bench(OmegaConf.to_container(cfg, resolve=True))
    for task in bench.tasks.names:
        bench.equip(task)


def without(file: Path, name: str) -> None:
    """Writes a checkpoint anew without one of its tensors."""
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        del tensors[name]
        save_file(tensors, file)
        return
    state = torch.load(file, weights_only=True)
    del state.get("model", state)[name]
    torch.save(state, file)


@contextmanager
def damaged(file: Path, name: str) -> Iterator[None]:
    """The file lacks a tensor while the block lasts."""
    whole = file.read_bytes()
    without(file, name)
    try:
        yield
    finally:
        file.write_bytes(whole)


def shown(file: Path) -> str:
    """What a message calls a checkpoint: the folder stands for the file in it."""
    return str(file.parent if file.stem == "model" else file)


def refusal(cfg, tensor: str, *files: Path) -> str:
    """What an evaluation says of files that lack a tensor: one line that names it."""
    with ExitStack() as damages:
        for file in files:
            damages.enter_context(damaged(file, tensor))
        with pytest.raises(TadropError, match=f"tensor '.*{last(tensor)}'") as error:
            evaluated(cfg)
    assert "\n" not in str(error.value)
    return str(error.value)


def last(name: str) -> str:
    """The part of a tensor's name that all of its spellings share."""
    return {"model.visual.proj": "proj"}.get(name, name.rpartition(".")[2])


@pytest.mark.parametrize("name", KINDS)
def test_evaluation_refuses_files_that_lack_a_tensor(name, tmp_path):
    kind = KINDS[name]
    world = kind.write(tmp_path)
    cfg = configured(world, tmp_path)
    evaluated(cfg)
    expert = list(world.experts.values())[-1]
    assert shown(world.base) in refusal(cfg, kind.base, world.base)
    assert shown(expert) in refusal(cfg, kind.expert, expert)
    if kind.head:
        said = refusal(cfg, kind.head, expert)
        assert shown(expert) in said
        assert "not the whole model" in said
    evaluated(cfg)


@pytest.mark.parametrize(
    "name", [name for name, kind in KINDS.items() if kind.base == kind.expert]
)
def test_evaluation_refuses_a_tensor_that_no_file_has(name, tmp_path):
    kind = KINDS[name]
    world = kind.write(tmp_path)
    cfg = configured(world, tmp_path)
    said = refusal(cfg, kind.base, world.base, *world.experts.values())
    assert shown(world.base) in said
    assert "not the whole model" in said


@pytest.mark.parametrize("name", TRAINED)
def test_fine_tuning_refuses_a_base_that_lacks_a_tensor(name, tmp_path):
    kind = KINDS[name]
    world = kind.write(tmp_path)
    projection = ["model.projection=frozen"] if name.startswith("clip") else []
    cfg = configured(world, tmp_path, "finetune", *projection)
    config = OmegaConf.to_container(cfg, resolve=True)
    suite, task = build.tasks(config["tasks"]), next(iter(world.experts))
    Run(cfg, build.model(config["model"]).bound(suite), suite, task).set_up()
    model = build.model(config["model"]).bound(suite)
    refusal = pytest.raises(TadropError, match="not the whole model")
    with damaged(world.base, kind.base), refusal as error:
        Run(cfg, model, suite, task).set_up()
    assert shown(world.base) in str(error.value)
    assert kind.base.removeprefix("vit.") in str(error.value)


@pytest.mark.parametrize("name", ["glyph_vit", "gpt2", "roberta", "dinov2", "vit"])
def test_every_tensor_of_a_base_is_asked_for(name, tmp_path):
    world = KINDS[name].write(tmp_path)
    config = OmegaConf.to_container(configured(world, tmp_path), resolve=True)
    suite = build.tasks(config["tasks"])
    model = build.model(config["model"]).bound(suite)
    base = model.open_base()
    for tensor in base.tensors:
        if is_private(tensor, model.private):
            continue
        rest = {n: t for n, t in base.tensors.items() if n != tensor}
        with pytest.raises(TadropError, match=rf"{tensor}.*not the whole model"):
            loaded(model, replace(base, tensors=rest), torch.device("cpu"))
