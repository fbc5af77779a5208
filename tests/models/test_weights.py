"""What fills a module, and the refusal of what does not; the rest is test_missing_weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tadrop.models.backbone import Backbone
from tadrop.models.local import Local
from tadrop.models.private import PrivateTensors
from tadrop.models.weights import loaded, private_tensors
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError

CPU = torch.device("cpu")


class Tied(nn.Module):
    """An embedding whose weight is the output layer's too, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.output = nn.Linear(3, 4, bias=False)
        self.output.weight = self.embed.weight
        self.head = nn.Linear(4, 2)


class Partial(Backbone):
    """Says where only some of its tensors go."""

    def slots(self, module: nn.Module) -> dict[str, Tensor]:
        slots = super().slots(module)
        del slots["embed.weight"], slots["output.weight"]
        return slots


def equip(module: Tied, private: PrivateTensors) -> None:
    module.head.load_state_dict({"weight": private["w"], "bias": private["b"]})


def backbone(kind: type[Backbone] = Backbone, private=("head.*",)) -> Backbone:
    return kind("tied", "base", "{task}", Tied, equip, private)


def checkpoint(**tensors: Tensor) -> Checkpoint:
    named = {name.replace("_", "."): tensor for name, tensor in tensors.items()}
    return Checkpoint(Path("DIR/file"), (), named)


def test_a_tied_tensor_is_filled_with_the_one_that_it_is_tied_to():
    weight = torch.randn(4, 3)
    module = loaded(backbone(), checkpoint(embed_weight=weight), CPU)
    assert torch.equal(module.output.weight, weight)
    assert not module.training
    assert not module.embed.weight.requires_grad


def test_private_tensors_of_a_base_are_left_out():
    tensors = {"embed_weight": torch.zeros(4, 3), "head_bias": torch.full((2,), 7.0)}
    module = loaded(backbone(), checkpoint(**tensors), CPU)
    assert not (module.head.bias == 7).any()
    with pytest.raises(
        TadropError, match=r"DIR/file: tensor 'head\.weight' is missing"
    ):
        loaded(backbone(private=("head.bias",)), checkpoint(**tensors), CPU)


def test_a_tensor_that_no_slot_names_is_refused():
    with pytest.raises(TadropError, match=r"'embed\.weight'.*slots must name every"):
        loaded(backbone(Partial), checkpoint(), CPU)


def test_a_task_s_tensors_refuse_what_they_lack():
    model = backbone(private=("w", "b"))
    private = private_tensors(model, checkpoint(w=torch.zeros(2, 4), x=torch.zeros(1)))
    assert list(private) == ["w"]
    assert private.should_have("b")
    assert not private.should_have("x")
    with pytest.raises(
        TadropError, match=r"DIR/file: tensor 'b' is missing.*not the whole"
    ):
        model.equip(Tied(), private)


def test_checkpoints_of_any_architecture_are_not_evaluated(tmp_path):
    places = [tmp_path / "a" / "model.safetensors", tmp_path / "b.safetensors"]
    places[0].parent.mkdir()
    for place in places:
        save_file({"w": torch.zeros(2)}, place)
    model = Local("local", "base", list(map(str, places)))
    assert list(model.own_tasks) == ["a", "b"]
    with pytest.raises(TadropError, match=r"evaluate=false export\.dir=OUT"):
        model.bound(None)
