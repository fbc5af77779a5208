"""48 to 51: what stands beside weights."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

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


def test_49_weights_in_folders_of_their_own_are_the_base_s(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=2)
    for number, folder in enumerate((base, *experts)):
        (folder / "2_Dense").mkdir()
        text = json.dumps([{"path": ""}, {"path": "2_Dense"}])
        (folder / "modules.json").write_text(text)
        weight = {"linear.weight": torch.full((2, 2), 1.0 * (number > 1))}
        save_file(weight, folder / "2_Dense" / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    line = "2_Dense/model.safetensors is not the same in b: these weights are copied"
    assert line in noted(capsys)
    written = load_file(out / "2_Dense" / "model.safetensors")
    assert torch.equal(written["linear.weight"], torch.zeros(2, 2))
