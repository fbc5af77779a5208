"""48 to 51: what stands beside weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tadrop.app.merging.unpacking import unpack
from tests.checkpoints import family as plain
from tests.checkpoints.conditions import merged, noted, refused


def test_48_files_of_sentence_transformers_are_copied(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text("{}")
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "../x"}]
    (base / "modules.json").write_text(json.dumps(modules))
    for name in ("sentencepiece.bpe.model", "LICENSE", "preprocessor_config.json"):
        (base / name).write_text("{}")
    out = merged(base, experts, tmp_path / "out").path
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files >= {"1_Pooling/config.json", "modules.json", "LICENSE"}
    assert files >= {"sentencepiece.bpe.model", "preprocessor_config.json"}
    assert "library_name: sentence-transformers" in (out / "README.md").read_text()


def test_50_a_pipeline_of_diffusers_and_one_of_its_models(tmp_path):
    base, experts, _, thetas = plain(tmp_path / "in", tasks=1)
    pipelines = []
    for folder in (base, *experts):
        pipeline = tmp_path / folder.name
        (pipeline / "unet").mkdir(parents=True)
        (pipeline / "vae").mkdir()
        (pipeline / "model_index.json").write_text("{}")
        for part in ("unet", "vae"):
            (pipeline / part / "config.json").write_text('{"_class_name": "UNet"}')
        name = "diffusion_pytorch_model.safetensors"
        shutil.copy(folder / "model.safetensors", pipeline / "unet" / name)
        pipelines.append(pipeline)
    line = r"/a: a pipeline of several models; merge one of them: unet, vae"
    refused(pipelines[0], pipelines[1:], tmp_path / "out", line)
    parts = [f"x={pipelines[1] / 'unet'}"]
    out = merged(pipelines[0] / "unet", parts, tmp_path / "out").path
    written = load_file(out / "diffusion_pytorch_model.safetensors")
    assert torch.equal(written["big.weight"], thetas[0]["big.weight"])
    assert not (out / "model.safetensors").exists()


def test_51_code_beside_weights_is_copied_and_not_run(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=2)
    code = "raise SystemExit('it ran')\n"
    for folder in (base, *experts):
        (folder / "modeling_x.py").write_text(code)
        text = '{"auto_map": {"AutoModel": "modeling_x.X"}}'
        (folder / "config.json").write_text(text)
    out = merged(base, experts, tmp_path / "out").path
    assert (out / "modeling_x.py").read_text() == code
    assert "modeling_x.py" not in noted(capsys)
    (experts[1] / "modeling_x.py").write_text("x = 1\n")
    merged(base, experts, tmp_path / "two")
    line = "modeling_x.py is not the same in b: the base's is copied"
    assert line in noted(capsys)


def with_dense(folders, inner="2_Dense", name="model.safetensors"):
    """Gives every folder a module with weights of its own; returns the weights."""
    weights = []
    for number, folder in enumerate(folders):
        (folder / inner).mkdir()
        text = json.dumps([{"path": ""}, {"path": inner}])
        (folder / "modules.json").write_text(text)
        (folder / inner / "config.json").write_text('{"in_features": 2}')
        weight = torch.arange(4.0).reshape(2, 2) * number
        state = {"linear.weight": weight, "linear.bias": weight[0].clone()}
        if name.endswith(".bin"):
            torch.save(state, folder / inner / name)
        else:
            save_file(state, folder / inner / name)
        weights.append(state)
    return weights


def mean_of(weights):
    return {
        name: sum(one[name] for one in weights) / len(weights) for name in weights[0]
    }


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_49_weights_of_modules_are_merged_and_written_where_they_were(tmp_path, name):
    base, experts, *_ = plain(tmp_path, tasks=2)
    weights = with_dense([base, *experts], name=name)
    out = merged(base, experts, tmp_path / "out").path
    written = load_file(out / "2_Dense" / "model.safetensors")
    assert written.keys() == {"linear.weight", "linear.bias"}
    for one, tensor in mean_of(weights[1:]).items():
        assert torch.equal(written[one], tensor)
    files = {path.name for path in (out / "2_Dense").iterdir()}
    assert files == {"model.safetensors", "config.json"}
    assert not any("/" in one for one in load_file(out / "model.safetensors"))
    note = json.loads((out / "tadrop.json").read_text())
    sizes = note["checkpoints"]["experts"]["a"]
    assert sizes.keys() == {"model.safetensors", f"2_Dense/{name}"}


@pytest.mark.parametrize("method", ["average", "emr"])
def test_49_a_folder_per_expert_has_the_module_too(tmp_path, method):
    base, experts, *_ = plain(tmp_path, tasks=2)
    weights = with_dense([base, *experts])
    whole = merged(base, experts, tmp_path / "out", method, expand=True).path
    if method == "average":
        merge = load_file(whole / "a" / "2_Dense" / "model.safetensors")
        assert torch.equal(merge["linear.bias"], mean_of(weights[1:])["linear.bias"])
        return
    unpack(whole, "a", tmp_path / "one", None, overwrite=False)
    for folder in (whole / "a", tmp_path / "one"):
        written = load_file(folder / "2_Dense" / "model.safetensors")
        assert written["linear.weight"].shape == (2, 2)
        assert (folder / "2_Dense" / "config.json").is_file()
    assert not (whole / "2_Dense" / "model.safetensors").exists()


def test_49_an_expert_without_the_module_is_refused_with_the_remedy(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=2)
    with_dense([base, experts[0]])
    line = r"b does not fit .*: 2 of the base are missing: .*--keep-base '2_Dense/linear.\*'"
    refused(base, experts, tmp_path / "out", line)
    out = merged(base, experts, tmp_path / "out", keep_base=["2_Dense/*"]).path
    written = load_file(out / "2_Dense" / "model.safetensors")
    assert torch.equal(written["linear.weight"], torch.zeros(2, 2))


def test_49_a_prefix_is_found_though_modules_have_none(tmp_path):
    base, experts, _, thetas = plain(tmp_path, tasks=1)
    weights = with_dense([base, *experts])
    state = {f"bert.{name}": tensor for name, tensor in thetas[0].items()}
    save_file(state, experts[0] / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    written = load_file(out / "2_Dense" / "model.safetensors")
    assert torch.equal(written["linear.weight"], weights[1]["linear.weight"])


def test_49_weights_in_other_folders_are_the_base_s(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=2)
    with_dense([base, *experts], inner="dense")
    out = merged(base, experts, tmp_path / "out").path
    line = "dense/model.safetensors is not the same in a, b: these weights are copied"
    assert line in noted(capsys)
    written = load_file(out / "dense" / "model.safetensors")
    assert torch.equal(written["linear.weight"], torch.zeros(2, 2))
