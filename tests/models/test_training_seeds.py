"""Sets of models from other training seeds, which lie beside those that are shipped."""

import shutil

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.mistakes import mistake
from tadrop.app.runs import opening
from tadrop.types import TadropError
from tests.models.worlds import ASSETS, CONF


def bench_of(*words, task="hebrew"):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*words, "device=cpu", f"tasks.names=[{task}]"])
    opening._open_bench.cache_clear()
    return opening.open_bench(OmegaConf.to_container(cfg, resolve=True))[0]


def test_another_seed_is_read_from_its_own_folder(tmp_path):
    there = tmp_path / "glyph_vit" / "seed1"
    there.mkdir(parents=True)
    shutil.copy(ASSETS / "greek_lower.safetensors", there / "base.safetensors")
    shutil.copy(ASSETS / "arabic.safetensors", there / "hebrew.safetensors")
    lines = []
    for line in (ASSETS / "SHA256SUMS").read_text().splitlines():
        for name, new in (("greek_lower", "base"), ("arabic", "hebrew")):
            if line.endswith(f"  {name}.safetensors"):
                lines.append(line.replace(name, new))
    (there / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    bench = bench_of("model.training_seed=1", f"paths.experts={tmp_path}")
    assert bench.base.path == there / "base.safetensors"
    assert bench.experts["hebrew"].path == there / "hebrew.safetensors"
    (there / "hebrew.safetensors").write_bytes(
        (there / "base.safetensors").read_bytes()
    )
    with pytest.raises(TadropError, match=r"hebrew\.safetensors"):
        bench_of("model.training_seed=1", f"paths.experts={tmp_path}")


def test_the_usual_seed_is_what_is_shipped(tmp_path):
    bench = bench_of("model.training_seed=0", f"paths.experts={tmp_path}")
    assert bench.base.path == ASSETS / "base.safetensors"


def test_a_set_that_is_not_there_names_what_makes_it(tmp_path):
    place = tmp_path / "glyph_vit" / "seed2"
    command = f"experiments.train_glyphs --seed 2 --out {place}$"
    with pytest.raises(TadropError, match=f"no set of models in {place}; .*{command}"):
        bench_of("model.training_seed=2", f"paths.experts={tmp_path}")
    place.mkdir(parents=True)
    with pytest.raises(TadropError, match=f"no checkpoint at {place}/base.*{command}"):
        bench_of("model.training_seed=2", f"paths.experts={tmp_path}")


def test_models_of_one_seed_have_no_other():
    words = ("model=gpt2_small", "+model.training_seed=1")
    with pytest.raises(
        Exception, match="model=gpt2_small is of one training seed, 0"
    ) as told:
        bench_of(*words, task="cola")
    assert isinstance(mistake(told.value), TadropError)
