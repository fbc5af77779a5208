"""What is known of image tasks: entries, variants, published accuracies."""

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from tadrop.tasks.reading.registry import REGISTRIES, registry
from tadrop.tasks.vision import VisionTasks
from tadrop.types import TadropError
from tests.tasks.photographs import CONF, SIZE, suite


def test_registries_hold_together():
    vision = registry("vision")
    assert len(vision) == 20
    assert {len(e["classes"]) for e in vision.values()} >= {
        397,
        196,
        102,
        101,
        100,
        47,
        45,
        43,
        37,
        26,
    }
    for name, entry in vision.items():
        assert len(set(entry["classes"])) == len(entry["classes"]), name
        assert all(isinstance(c, str) for c in entry["classes"]), name
        assert all("{}" in t for t in entry["templates"]), name
    assert [
        len(vision[t]["templates"])
        for t in ("sun397", "stanford-cars", "resisc45", "cifar100")
    ] == [2, 8, 18, 18]


@pytest.mark.parametrize("family", ["vision", "offline"])
@pytest.mark.parametrize("count", [8, 14, 20, 30])
def test_each_list_contains_the_one_before(family, count):
    with initialize_config_dir(CONF, version_base="1.3"):
        names = compose(
            "config", ["model=vit_b32", f"tasks={family}{count}"]
        ).tasks.names
        assert len(set(names)) == count
        if family == "offline" or count < 30:
            assert set(names) <= set(
                registry("offline" if family == "offline" else "vision")
            )
        if count in (14, 20):
            smaller = compose(
                "config", ["model=vit_b32", f"tasks={family}{ {14: 8, 20: 14}[count] }"]
            ).tasks.names
            assert names[: len(smaller)] == smaller


def test_published_accuracies_average_to_what_their_sources_print():
    table = yaml.safe_load((REGISTRIES / "published.yaml").read_text())
    assert {
        len(table[s][m])
        for s in ("hub", "tall_masks")
        for m in ("vit_b32", "vit_b16", "vit_l14")
    } == {20}
    means = {
        m: np.mean(list(table["tall_masks"][m].values()))
        for m in ("vit_b32", "vit_b16", "vit_l14")
    }
    assert {m: round(v, 2) for m, v in means.items()} == {
        "vit_b32": 91.37,
        "vit_b16": 93.17,
        "vit_l14": 94.73,
    }
    assert (
        round(np.mean(list(table["vision30"]["vit_b16_linear"].values())), 2) == 93.02
    )
    for source, models in table.items():
        if "experts" in models:  # of texts or of both: see test_reported.py
            continue
        known = set(registry(source if source == "vision30" else "vision"))
        assert all(set(models[m]) <= known for m in models if m != "source")


SUFFIXES = (  # dashes and lines mixed
    "sun397 stanford-cars resisc45 eurosat svhn gtsrb mnist dtd oxford_flowers102 pcam "
    "fer2013 oxford-iiit-pet stl10 cifar100 cifar10 food101 fashion_mnist emnist_letters "
    "kmnist rendered-sst2"
)


TALL = (
    "SUN397 Cars RESISC45 EuroSAT SVHN GTSRB MNIST DTD Flowers102 PCAM FER2013 "
    "OxfordIIITPet STL10 CIFAR100 CIFAR10 Food101 FashionMNIST EMNIST KMNIST RenderedSST2"
)


def test_names_are_spelled_as_each_lineage_spells_them():
    with initialize_config_dir(CONF, version_base="1.3"):
        names = compose("config", ["model=vit_b32", "tasks=vision20"]).tasks.names
    tasks = VisionTasks(names=names, registry="vision", preprocess=SIZE)
    assert {tasks.entry(name).hub for name in names} == set(SUFFIXES.split())
    assert {tasks.entry(name).tall for name in names} == set(TALL.split())
    assert (
        tasks.entry("stanford-cars").id == "tanganke/stanford_cars"
    )  # the model's name has a dash, the data's none
    assert all(
        "/" in tasks.entry(name).id for name in names
    )  # ids without an organisation are gone from the hub
    assert list(tasks.entry("fer2013").classes) == sorted(
        tasks.entry("fer2013").classes
    )  # not Kaggle's order


def test_a_data_set_needs_no_entry(hub, tmp_path):
    tasks = suite(hub, tmp_path, ("tanganke/eurosat",))
    assert tasks.classes("tanganke/eurosat")[9] == "class 9"
    assert tasks.entry("tanganke/eurosat").templates == ("a photo of a {}.",)


def test_variants_change_an_entry_and_stand_in_the_protocol(hub, tmp_path):
    tasks = suite(hub, tmp_path, ("kmnist",), variants={"kmnist": "romaji"})
    assert tasks.entry("kmnist").classes[2] == "su"
    assert "kmnist romaji" in tasks.protocol()
    with pytest.raises(TadropError, match="it has digits"):
        suite(hub, tmp_path, ("emnist",), variants={"emnist": "hieroglyphs"})
    with pytest.raises(TadropError, match="no data set"):
        suite(hub, tmp_path, ("emnist",), variants={"emnist": "digits"}).classes(
            "emnist"
        )


def test_accuracies_of_another_protocol_are_not_shown_as_this_ones():
    """EMNIST is letters on the hub and digits with TALL-masks; 95 and 99 % do not compare."""
    names = ["emnist", "mnist"]
    letters = VisionTasks(names=names, registry="vision", preprocess=SIZE)
    digits = VisionTasks(
        names=names, registry="vision", preprocess=SIZE, variants={"emnist": "digits"}
    )
    shown = {"hub": (letters, digits), "tall_masks": (digits, letters)}
    for source, (same, other) in shown.items():
        assert set(same.published(source, "vit_b32")) == {"emnist", "mnist"}
        assert set(other.published(source, "vit_b32")) == {"mnist"}


def test_individual_accuracies_are_not_the_leaked_ones():
    """TALL-masks' published DTD numbers (97.98, 98.51) were of models that had been trained on the
    test images.
    """
    tasks = VisionTasks(names=["dtd", "mnist"], registry="vision", preprocess=SIZE)
    for model in ("vit_b32", "vit_b16", "vit_l14"):
        assert set(tasks.published("tall_masks", model)) == {"mnist"}
        assert tasks.published("hub", model)["dtd"] < 90
