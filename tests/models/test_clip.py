"""CLIP in every packaging: names, heads, sources, and the whole way through run.py on a
local hub folder.
"""

from types import SimpleNamespace

import open_clip
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file

from tadrop.app import places
from tadrop.app.runs import build
from tadrop.evaluation.bench import set_up
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.models.clip import names as clip_names
from tadrop.models.clip import zeroshot
from tadrop.models.clip.convert import convert
from tadrop.models.clip.model import HEAD, Clip
from tadrop.models.weights import install, private_tensors
from tadrop.storage import hub as hubs
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.legacy import open_any
from tadrop.tasks.vision import VisionTasks
from tadrop.types import TadropError
from tadrop.vectors.merged import materialise
from tadrop.vectors.task_vectors import TaskVectors
from tests import tiny_clip as tiny

CONF = str(places.CONF)
MODELS = ("vit_b32", "vit_b16", "vit_l14")


@pytest.fixture
def model(clip_model):
    return clip_model


@pytest.fixture
def hub(clip_hub):
    return clip_hub


def configured(hub, tmp_path, *overrides):
    words = [
        "model=vit_b32",
        f"paths.hub={hub}",
        f"paths.cache={hub / 'cache'}",  # shared: heads and images do not depend on the test
        f"paths.records={tmp_path / 'records'}",
        f"model.architecture={hub / 'tiny.json'}",
        "model.preprocess.size=32",
        f"tasks.names=[{','.join(tiny.TASKS)}]",
        "tasks.strict=false",
        "device=cpu",
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", [*words, *overrides])


def opened(hub, tmp_path, *overrides):
    """The backbone bound to its tasks."""
    config = OmegaConf.to_container(configured(hub, tmp_path, *overrides), resolve=True)
    return build.model(config["model"]).bound(build.tasks(config["tasks"]))


def stream_of(backbone):
    experts = {task: backbone.open_expert(task) for task in backbone.tasks.names}
    return TaskVectors(backbone.open_base(), experts, tuple(backbone.private))


@pytest.mark.parametrize("name", MODELS)
def test_models_are_openais_quick_gelu_and_bring_their_tasks(name):
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("config", [f"model={name}"])
        chosen = compose("config", [f"model={name}", "tasks=vision14"])
    assert len(config.tasks.names) == 8
    assert config.tasks.names[0] == "sun397"
    assert len(chosen.tasks.names) == 14
    with torch.device("meta"):
        visual = open_clip.model.CLIP(
            **open_clip.get_model_config(config.model.architecture)
        ).visual
    assert type(visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    size = {"vit_b32": 32, "vit_b16": 16, "vit_l14": 14}[name]
    assert visual.conv1.weight.shape[-1] == size


@pytest.mark.parametrize("packaging", clip_names.PACKAGINGS)
def test_the_forward_pass_agrees_with_transformers(model, hub, tmp_path, packaging):
    backbone = opened(hub, tmp_path, f"model.packaging={packaging}")
    base = backbone.open_base()
    bench = set_up(
        backbone,
        base,
        {"mnist": backbone.open_expert("mnist")},
        backbone.tasks,
        torch.device("cpu"),
    )
    backbone.equip(bench.module, private_tensors(backbone, bench.experts["mnist"]))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = torch.nn.functional.normalize(bench.module.features(images), dim=-1)
        theirs = model.get_image_features(pixel_values=images)
    theirs = getattr(theirs, "pooler_output", theirs)
    torch.testing.assert_close(
        ours, torch.nn.functional.normalize(theirs, dim=-1), atol=1e-5, rtol=0
    )


def test_heads_are_ensembled_text_features(model, hub, tmp_path):
    backbone = opened(hub, tmp_path)
    head = backbone.open_expert("fer2013")[HEAD]
    entry, names = backbone.tasks.entry("fer2013"), backbone.tasks.classes("fer2013")
    tokens = open_clip.SimpleTokenizer()(
        [t.replace("{}", names[2]) for t in entry.templates]
    )
    with torch.inference_mode():
        features = model.get_text_features(input_ids=tokens)
    features = torch.nn.functional.normalize(
        getattr(features, "pooler_output", features), dim=-1
    )
    torch.testing.assert_close(
        head[2],
        torch.nn.functional.normalize(features.mean(0), dim=-1),
        atol=1e-5,
        rtol=0,
    )
    assert head.shape == (7, 32)


def test_heads_are_cached_by_content(hub, tmp_path, monkeypatch):
    backbone = opened(hub, tmp_path, f"paths.cache={tmp_path}")
    first = backbone.head("mnist")
    monkeypatch.setattr(
        zeroshot, "encode", lambda *_: pytest.fail("the head was in the cache")
    )
    assert torch.equal(backbone.head("mnist"), first)
    with pytest.raises(pytest.fail.Exception):
        backbone.head("fer2013")


@pytest.mark.parametrize("packaging", clip_names.PACKAGINGS)
@pytest.mark.parametrize("source", ["tall_masks", "task_vectors"])
def test_every_source_gives_the_same_task_vectors(hub, tmp_path, packaging, source):
    reference = stream_of(opened(hub, tmp_path, f"model.packaging={packaging}"))
    legacy = stream_of(
        opened(hub, tmp_path, f"model.packaging={packaging}", f"model.source={source}")
    )
    projection = clip_names.PROJECTION[packaging]
    assert set(legacy.names) - set(reference.names) == {projection}
    assert set(reference.names) < set(legacy.names)
    for name in reference.names:
        assert torch.equal(reference.taus(name), legacy.taus(name))
    assert (
        legacy.taus(projection).abs().max() == 0
    )  # these experts were moved in the tower alone
    assert len(reference.names) == {"split": 39, "fused": 31}[packaging]


def test_never_trained_text_tensors_count_only_when_asked(hub, tmp_path):
    words = ("model.source=tall_masks", "model.packaging=fused")
    without, with_them = (
        stream_of(opened(hub, tmp_path, *words, f"model.leftovers={on}"))
        for on in ("false", "true")
    )
    more = set(with_them.names) - set(without.names)
    assert more == set(clip_names.LEFTOVERS.values())
    assert all(with_them.taus(name).abs().max() == 0 for name in more)
    assert with_them.shapes["logit_scale"] == ()
    with pytest.raises(TadropError, match="is missing"):
        stream_of(
            opened(hub, tmp_path, "model.leftovers=true")
        )  # the hub's vision towers have none


def test_splitting_and_fusing_are_lossless(model):
    pairs = clip_names.vision_pairs(2, projection=True)
    split = {
        n: t
        for n, t in model.state_dict().items()
        if n.startswith(("vision_model.", "visual_projection"))
    }
    split = {n: t for n, t in split.items() if t.is_floating_point()}
    fused = convert(split, pairs, "fused", "here")
    expected = {
        n: t for n, t in tiny.encoder_state(model).items() if n.startswith("visual.")
    }
    assert set(fused) == set(expected)
    assert all(torch.equal(fused[n], t) for n, t in expected.items())
    back = convert(dict(fused), pairs, "split", "here")
    assert set(back) == set(split)
    assert all(torch.equal(back[n], t) for n, t in split.items())


def test_both_forms_give_the_same_merge(hub, tmp_path):
    """Averaging is elementwise: the hub's split files and TALL's fused ones must merge to the same
    features.
    """
    average = Method(merge=lambda taus: taus.mean(0, keepdim=True))
    images, found = (
        torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
        [],
    )
    for words in (
        ("model.packaging=split",),
        ("model.packaging=fused", "model.source=tall_masks"),
    ):
        backbone = opened(hub, tmp_path, *words)
        stream = stream_of(backbone)
        bench = set_up(
            backbone, stream.base, stream.experts, backbone.tasks, torch.device("cpu")
        )
        install(
            backbone.slots(bench.module),
            materialise(stream.base, merge(stream, average), "mnist", 1.0),
        )
        backbone.equip(bench.module, private_tensors(backbone, stream.experts["mnist"]))
        with torch.inference_mode():
            found.append(bench.module(images))
    torch.testing.assert_close(
        found[0], found[1], atol=1e-4, rtol=0
    )  # logits are 100 x cosine


SPELLINGS = {
    "transformers 5": lambda name: name.removeprefix("vision_model."),
    "data parallel": lambda name: f"module.{name}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_prefixes_and_index_buffers_of_other_versions(model, hub, tmp_path, spelling):
    state = {
        SPELLINGS[spelling](n): t
        for n, t in tiny.moved(tiny.vision_state(model), 1).items()
    }
    state[SPELLINGS[spelling]("vision_model.embeddings.position_ids")] = torch.arange(
        5
    )[None]
    local(tmp_path, state)
    words = (*from_folder(tmp_path), "tasks.names=[mnist]")
    ours, theirs = (
        stream_of(opened(hub, tmp_path, *words)),
        stream_of(opened(hub, tmp_path, "tasks.names=[mnist]")),
    )
    assert all(torch.equal(ours.taus(n), theirs.taus(n)) for n in theirs.names)


def from_folder(folder):
    return "model.source=local", f'model.sources.local="{folder}/{{task}}"'


def local(tmp_path, state):
    (tmp_path / "mnist").mkdir()
    save_file(
        {n: t.contiguous() for n, t in state.items()},
        tmp_path / "mnist" / "model.safetensors",
    )


def broken(state, how):
    name = "vision_model.encoder.layers.1.self_attn.k_proj.weight"
    if how == "missing":
        del state[name]
    elif how == "extra":
        state["vision_model.adapter.weight"] = torch.zeros(3)
    elif how == "shape":
        state[name] = torch.zeros(64, 64)
    elif how == "deeper":
        state |= {
            n.replace("layers.1", "layers.2"): t.clone()
            for n, t in state.items()
            if "layers.1" in n
        }
    else:
        state = {f"decoder.{n}": t for n, t in state.items()}
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "k_proj.weight.* is missing"),
        ("extra", "adapter.weight.* is not part of"),
        ("shape", r"k_proj.weight.* has shape \[64, 64\]"),
        ("deeper", "tower of 3 layers"),
        ("foreign", "not a CLIP vision tower"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    model, hub, tmp_path, how, message
):
    local(tmp_path, broken(tiny.vision_state(model), how))
    words = (*from_folder(tmp_path), "tasks.names=[mnist]")
    with pytest.raises(TadropError, match=message) as error:
        stream_of(opened(hub, tmp_path, *words))
    assert "mnist" in str(error.value)


def test_a_projection_that_not_all_experts_carry_is_refused(model, hub, tmp_path):
    """Otherwise an expert would be evaluated with another projection than its own."""
    tower = tiny.moved(tiny.vision_state(model), 1)
    own = {"visual_projection.weight": model.state_dict()["visual_projection.weight"]}
    for task, state in (("mnist", tower), ("eurosat", tower | own)):
        (tmp_path / task).mkdir()
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(state, tmp_path / task / "model.safetensors")
    words = (*from_folder(tmp_path), "tasks.names=[mnist,eurosat]")
    with pytest.raises(TadropError, match=r"eurosat.*model\.projection=frozen"):
        stream_of(opened(hub, tmp_path, *words))
    frozen = opened(hub, tmp_path, *words, "model.projection=frozen")
    assert "visual_projection.weight" not in stream_of(frozen).names


def test_half_precision_experts_are_subtracted_in_float32(model, hub, tmp_path):
    state = {n: t.half() for n, t in tiny.moved(tiny.vision_state(model), 1).items()}
    local(tmp_path, state)
    words = (*from_folder(tmp_path), "tasks.names=[mnist]")
    stream, name = (
        stream_of(opened(hub, tmp_path, *words)),
        "vision_model.post_layernorm.weight",
    )
    assert torch.equal(
        stream.taus(name)[0], state[name].float() - model.state_dict()[name]
    )


def test_nothing_here_and_no_network_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(hubs, "unreachable", lambda: "no network")
    backbone = opened(tmp_path, tmp_path)
    with pytest.raises(TadropError) as error:
        backbone.open_base()
    line = str(error.value)
    assert "\n" not in line
    for word in (
        "openai/clip-vit-base-patch32",
        str(tmp_path / "models"),
        "no network",
        "paths.hub=DIR",
        "Go online",
    ):
        assert word in line


def test_mistakes_in_the_configuration_are_named(hub, tmp_path):
    for override, message in (
        ("model.packaging=diagonal", "split or fused"),
        ("model.source=attic", "task_vectors"),
        ("model.source=local", "model.sources.local="),
        ("model.architecture=ViT-Z", "open_clip has no such model"),
    ):
        with pytest.raises(Exception, match=message):
            opened(hub, tmp_path, override).config  # noqa: B018  reading it is the test
    with pytest.raises(TadropError, match="tasks=vision8"):
        opened(hub, tmp_path).bound(SimpleNamespace(names=("a",)))


def test_types_are_what_the_configuration_says(hub, tmp_path):
    backbone = opened(hub, tmp_path)
    assert isinstance(backbone, Clip)
    assert isinstance(backbone.tasks, VisionTasks)
    assert (
        open_checkpoint(hub / "models" / tiny.BASE).fingerprint()
        == backbone.open_base().fingerprint()
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_archive_is_read_as_data(tmp_path):
    """OpenAI's own .pt files are programs; what they hold is read, and nothing is run."""
    file = tmp_path / "ViT-B-32.pt"
    module = torch.nn.Linear(2, 2)
    torch.jit.script(module).save(str(file))
    tensors = open_any(file).tensors
    assert tensors.keys() == {"weight", "bias"}
    assert torch.equal(tensors["weight"], module.weight)
    assert torch.equal(tensors["bias"], module.bias)
