"""Recipes: the published ones, and what is wrong in others."""

import tracemalloc
from dataclasses import fields

import pytest

from model.referformer.config import ReferFormerConfig
from pipeline.training.recipe import Recipe, SmallModelOptions, read_recipe
from pipeline.training.recipes import RECIPES
from schemas.errors import InputError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_package_is_read(name):
    assert read_recipe(name).frames in (1, 4, 5, 8)


def test_the_default_is_the_published_fine_tuning():
    assert read_recipe(None) == Recipe() == read_recipe("ref-youtube-vos")


def test_tables_lists_and_models_are_read(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('drops = [1, 2.5]\nmodel = "resnet50"\n[rates]\nmain = 1\n[augmentation]\nsizes = [96]\n')
    recipe = read_recipe(str(path))
    assert (recipe.drops, recipe.rates.main, recipe.augmentation.sizes) == ((1.0, 2.5), 1.0, (96,))
    assert recipe.model == ReferFormerConfig.published("resnet50")


def test_the_fingerprint_has_the_form_of_trainings_begun_before_later_keys_existed():
    recipe = read_recipe("tiny-clips")
    inputs = recipe.fingerprint_inputs()
    assert "small" not in inputs
    assert (inputs["schedule"], inputs["warmup"], inputs["sentences"]) == ("cosine", 0.02, 4)
    assert len(inputs) == len(fields(Recipe)) - len(["small", "one_target", "quality"]) + len(fields(SmallModelOptions))
    assert "quality" not in inputs["rates"]
    assert "quality" not in read_recipe("tiny-stills").fingerprint_inputs()["model"]
    assert read_recipe("a2d-sentences").fingerprint_inputs()["one_target"] is True
    quality = read_recipe("tiny-quality").fingerprint_inputs()
    assert quality["quality"]["hidden_dim"] == 128
    assert quality["rates"]["quality"] == 3e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown epoch"),
        ("[rates]\nmane = 3", "unknown rates.mane"),
        ("epochs = 'x'", "epochs must be int"),
        ("warmup = 0.1\nschedule = 'cosine'", r"schedule, warmup must be in the table \[small\]"),
        ("[small]\nsentences = 0", "small.sentences must be at least 1"),
        ("drops = []\n[small]\nschedule = 'cosine'", "give at least one"),
        ("epochs = 0", "epochs must be at least 1"),
        ("weight_decay = -0.1", "weight_decay must be 0 or more"),
        ("[small]\nwarmup = nan", "warmup must be 0 or more"),
        ("clip_norm = 0.0", "clip_norm must be above 0"),
        ("clip_norm = inf", "clip_norm must be above 0, and finite"),
        ("seed = -1", "seed must be 0 or more"),
        ("short_side = 640\nmax_size = 64", "short_side is 640, but max_size, of the longer side, is 64"),
        ("[rates]\nmain = 0\nbackbone = 0\ntext = 0\noffsets = 0\nquality = 0", "all rates are 0"),
        ("epochs = 1\n[small]\nwarmup = 5", "small.warmup must be shorter than the 1 epochs, got 5"),
        ("[augmentation]\ncrop_sides = [600, 384]", "crop_sides must be the smallest and the largest"),
        ("[augmentation]\nsizes = [512]\nmax_size = 64", "sizes has 512, and the longer side may only have 64"),
        ("drops = [5, 3]", "drops must be epochs above 0 in ascending order"),
        ("[rates]\nmain = -1.0", "rates.main must be 0 or more"),
        ("[coefficients]\nmasks = nan", "coefficients.masks must be 0 or more"),
        ("[augmentation]\nsizes = []", "needs at least one of sizes"),
        ("[augmentation]\nsizes = [0]", "augmentation.sizes must be 1 to"),
        ("[augmentation]\ncrop_sides = [384]", "two crop_sides"),
        ("precision = 'int8'", "precision must be one of"),
        ("[small]\nschedule = 'line'", "schedule must be one of"),
        ("drops = 3", "drops must be a list"),
        ("rates = 3", "rates must be a table"),
        ("epochs = ", "not TOML"),
        ("[small]\nsampling = 'any'", "sampling must be one of published, consecutive"),
        ("[small]\nsentences = 2", "sentences above 1 need augmentation.crop = 0"),
        ("[quality]\nhidden_dim = 0", "hidden_dim must be at least 1"),
        ("[quality]\nno_target_below = 1.5", r"no_target_below must be in \[0, 1\)"),
        ("[model]\nqueries = 0", "queries must be at least 1"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(str(path))


HOSTILE = {
    "a key of many parts": ".".join("a" * 10_000) + " = 1",
    "a key of many parts in quotes": " . ".join(['"a"'] * 8000) + " = 1",
    "a number of many digits": f"epochs = 0x{'f' * 100_000}",
    "a float of many digits": f"weight_decay = 0x{'f' * 100_000}",
    "absurd clips": "clips = 1_000_000_000",
    "absurd frames": "short_side = 100_000_000",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_they_take_memory(tmp_path, name):
    path = tmp_path / "recipe.toml"
    path.write_text(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(InputError, match=r"more than 200 dots|must be at most \d+, got") as raised:
        read_recipe(str(path))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert len(str(raised.value)) < 500


def test_an_absent_file_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="joint"):
        read_recipe("nowhere.toml")


def test_the_command_names_every_recipe():
    from cli import main

    (option,) = (param for param in main.commands["train"].params if param.name == "config")
    assert all(name in option.to_info_dict()["help"] for name in RECIPES)
