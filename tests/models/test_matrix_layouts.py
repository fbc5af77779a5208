"""What models say of their matrices, which per-matrix methods go by."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from tadrop.app.places import CONF
from tadrop.models import glyph_vit
from tadrop.models.clip import names as clip_names
from tadrop.models.matrices import matrix_layouts
from tadrop.types import MatrixLayout, TadropError


def test_the_embedded_model_names_its_linear_layers():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = instantiate(compose("config").model)
    module = glyph_vit.build()
    shapes, linear = {}, set()
    for name, parameter in module.named_parameters():
        if not name.startswith("head."):
            shapes[name] = tuple(parameter.shape)
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear) and name.startswith("blocks"):
            linear.add(f"{name}.weight")
    layouts = matrix_layouts(model.name, model.matrices, shapes)
    assert set(layouts) == linear
    assert layouts["blocks.0.qkv.weight"] == MatrixLayout("linear", blocks=3)


def test_the_first_entry_that_fits_says_the_layout():
    matrices = [{"names": "a.*", "transposed": True}, {"names": "*.w", "kind": "table"}]
    shapes = {"a.w": (2, 3), "b.w": (4, 5), "b.bias": (4,)}
    assert matrix_layouts("m", matrices, shapes) == {
        "a.w": MatrixLayout("linear", transposed=True),
        "b.w": MatrixLayout("table"),
    }


@pytest.mark.parametrize(
    ("entry", "shapes", "message"),
    [
        ({"names": "x.*"}, {"a": (2, 2)}, "no merged tensor is called so"),
        ({"names": "a"}, {"a": (2,)}, r"whose shape is \[2\]"),
        ({"names": "a", "blocks": 3}, {"a": (4, 6)}, "not 3 equal blocks"),
        ({"names": "a", "kind": "conv"}, {"a": (4, 6)}, "kind is 'conv'"),
    ],
)
def test_wrong_layouts_are_refused(entry, shapes, message):
    with pytest.raises(TadropError, match=message):
        matrix_layouts("m", [entry], shapes)


NO_MATRICES = (
    "bias",
    "in_proj_bias",
    "class_embedding",
    "patch_embedding.weight",
    "conv1.weight",
)


def is_matrix(name):
    """Whether a tensor of CLIP is one, by its name."""
    norm = "norm" in name or "layrnorm" in name or ".ln_" in name
    return not norm and not name.endswith(NO_MATRICES)


@pytest.mark.parametrize(("packaging", "linear"), [("split", 6), ("fused", 4)])
def test_clip_tells_its_matrices_in_either_packaging(packaging, linear):
    names = []
    for pair in clip_names.vision_pairs(2, projection=True):
        names += pair.names(packaging)
    matrices = set(filter(is_matrix, names))
    shapes = {name: (6, 6) if name in matrices else (6,) for name in names}
    words = clip_names.matrices(packaging, projection=True)
    layouts = matrix_layouts("clip", words, shapes)
    assert set(layouts) == matrices
    kinds = [layout.kind for layout in layouts.values()]
    assert kinds.count("linear") == 2 * linear
