"""What a training starts from: pretrained parts, what stays random, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import train
from jobs.config.train import TrainConfig
from jobs.terminal.wrong_object import refuse_wrong_objects
from jobs.train import start_lines
from model.referformer.config import QualityConfig
from model.referformer.network.referformer import ReferFormer
from pipeline.training.recipe import Recipe
from schemas.errors import InputError
from tests.tiny_training import TINY


@pytest.fixture(scope="module")
def parts(checkpoint, tmp_path_factory):
    """Files of a Video-Swin and of roberta-base, as published but small."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(5)
    state = ReferFormer(TINY).state_dict()
    body = {name.removeprefix("backbone.0.body."): x for name, x in state.items() if name.startswith("backbone.")}
    video = {re.sub(r"^downsamples\.(.)", r"layers.\1.downsample", name): x for name, x in body.items()}
    video = {f"backbone.{name}": x for name, x in video.items()}
    torch.save({"state_dict": video | {"cls_head.fc_cls.bias": torch.ones(4)}}, folder / "video_swin.pth")
    text = folder / "roberta"
    text.mkdir()
    (text / "tokenizer.json").write_bytes((Path(checkpoint) / "tokenizer.json").read_bytes())
    values = {"model_type": "roberta", "num_attention_heads": 4, "layer_norm_eps": 1e-5, "pad_token_id": 1}
    (text / "config.json").write_text(json.dumps(values))
    encoder = {f"roberta.{name[13:]}": x for name, x in state.items() if name.startswith("text_encoder.")}
    encoder = {name: x for name, x in encoder.items() if ".pooler." not in name}
    save_file(encoder | {"lm_head.bias": torch.zeros(261)}, text / "model.safetensors")
    return {"backbone_weights": str(folder / "video_swin.pth"), "text_weights": str(text)}, state


@pytest.fixture
def config(shapes, tmp_path):
    """config(**changes) -> a TrainConfig without a start."""

    def make(**changes) -> TrainConfig:
        options = {"data": (shapes[0],), "annotations": (shapes[1],), "out": str(tmp_path / "out")}
        return TrainConfig(**options | changes)

    return make


def started(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(Path(config.out) / "start" / "model.safetensors")


def test_parts_come_from_files_and_the_rest_is_fresh(config, parts, tmp_path):
    options, state = parts
    recipe = Recipe(model=TINY)
    document = train.prepare(config(**options), recipe, config().out)
    bare = config(out=str(tmp_path / "bare"), tokenizer=options["text_weights"])
    train.prepare(bare, recipe, bare.out)
    for name, x in started(config()).items():
        given = name.startswith(("backbone.", "text_encoder.")) and ".pooler." not in name
        assert torch.equal(x, state[name] if given else started(bare)[name]), name
    assert document["fresh"]["text_encoder.pooler"] == 2
    assert document["fresh"]["transformer"] > 40
    assert not any(name.startswith("backbone") for name in document["fresh"])
    unused = document["unused"]
    assert unused["--text-weights"] == ["lm_head.bias"]
    assert "cls_head.fc_cls.bias" in unused["--backbone-weights"]
    assert all("index" in name or name.startswith("cls_head.") for name in unused["--backbone-weights"])
    assert json.loads((Path(config().out) / "train.json").read_text()) == document
    lines = start_lines(document["fresh"], document["frozen"], document["unused"])
    assert lines[0].startswith("fresh       ")
    assert "text_encoder.pooler (2 tensors)" in lines[0]
    assert "query_embed (1 tensor)," in lines[0]
    assert start_lines({}, {}, {"--x": list("abcdefghi")}) == ["not used    of --x: a, b, c, d, e, f and 3 more"]
    assert "not used    of --text-weights: lm_head.bias" in lines


def test_a_training_goes_on_with_the_same_weights_only(config, parts):
    options, _ = parts
    recipe = Recipe(model=TINY)
    train.prepare(config(**options), recipe, config().out)
    document = train.prepare(config(**options), recipe, config().out)
    assert "transformer" in document["fresh"]
    for left in options:
        others = {name: value for name, value in options.items() if name != left}
        with pytest.raises(InputError, match=f"holds a training with other {left}"):
            train.prepare(config(**others, tokenizer=options["text_weights"]), recipe, config().out)


def test_other_weights_in_parts_are_another_training(config, parts, tmp_path):
    options, _ = parts
    text = tmp_path / "text"
    shutil.copytree(options["text_weights"], text)
    (text / "model.safetensors").rename(text / "model-1.safetensors")
    (text / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.bias": "model-1.safetensors"}}')
    first = config(**options | {"text_weights": str(text)})
    train.prepare(first, Recipe(model=TINY), first.out)
    train.prepare(first, Recipe(model=TINY), first.out)
    changed = load_file(text / "model-1.safetensors")
    save_file(changed | {"lm_head.bias": torch.ones(261)}, text / "model-1.safetensors")
    with pytest.raises(InputError, match="holds a training with other text_weights"):
        train.prepare(first, Recipe(model=TINY), first.out)


def test_fresh_parts_that_stay_as_they_are_are_told(config, parts, tmp_path):
    options, _ = parts
    bare = config(tokenizer=options["text_weights"])
    document = train.prepare(bare, Recipe(model=TINY), bare.out)
    assert list(document["frozen"]) == ["text_encoder"]
    lines = start_lines(document["fresh"], document["frozen"], {})
    assert lines[1].startswith("frozen      at random values: text_encoder (")
    trained = config(out=str(tmp_path / "trained"), **options)
    document = train.prepare(trained, Recipe(model=TINY, freeze_text_encoder=False), trained.out)
    assert document["frozen"] == {}


def test_text_weights_may_be_those_of_torch(config, parts, tmp_path):
    options, state = parts
    text = tmp_path / "text"
    shutil.copytree(options["text_weights"], text)
    torch.save(load_file(text / "model.safetensors"), text / "pytorch_model.bin")
    (text / "model.safetensors").unlink()
    made = config(text_weights=str(text))
    refuse_wrong_objects(made, "train", {})
    train.prepare(made, Recipe(model=TINY), made.out)
    name = "text_encoder.embeddings.word_embeddings.weight"
    assert torch.equal(started(made)[name], state[name])


def test_fresh_class_heads_are_told(config, checkpoint):
    document = train.prepare(config(init=checkpoint), Recipe(), config().out)
    assert document["fresh"] == {"class_embed": 4}
    assert document["unused"] == {}


def test_a_fresh_quality_head_is_told_and_a_trained_one_is_kept(config, checkpoint, tmp_path):
    recipe = Recipe(fresh_class_heads=False, quality=QualityConfig(hidden_dim=16))
    document = train.prepare(config(init=checkpoint), recipe, config().out)
    assert document["fresh"] == {"quality_head": 14}
    given, headed = load_file(Path(checkpoint) / "model.safetensors"), started(config())
    assert all(torch.equal(headed[name], x) for name, x in given.items())
    again = config(init=str(Path(config().out) / "start"), out=str(tmp_path / "again"))
    assert train.prepare(again, recipe, again.out)["fresh"] == {}
    assert all(torch.equal(started(again)[name], x) for name, x in headed.items())


def test_backbone_builds_a_published_model(config, tmp_path):
    assert train._recipe(config(backbone="resnet101")).model.backbone.depths == (3, 4, 23, 3)
    (tmp_path / "other.toml").write_text('model = "resnet50"')
    both = config(backbone="resnet101", config=str(tmp_path / "other.toml"))
    with pytest.raises(InputError, match=r"--backbone resnet101 differs from the recipe's \[model\]; omit one"):
        train._recipe(both)


@pytest.mark.parametrize("name", ["backbone", "backbone_weights", "text_weights", "tokenizer"])
def test_a_checkpoint_leaves_no_room_for_parts(config, name):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} needs fresh weights, but the checkpoint of"):
        config(init="checkpoint", **{name: "resnet50"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone_weights": "/nowhere/a.pth"}, "/nowhere/a.pth: no such file or folder of weights"),
        ({"text_weights": "/nowhere"}, "/nowhere: no such file or folder of weights$"),
        (
            {"text_weights": "a-group/a-model"},
            "weights; if it is a name on the hub, 'hf download a-group/a-model --local-d",
        ),
        (
            {"backbone_weights": "{lfs}"},
            "swin.pth is not the file itself, but a pointer of Git LFS; fetch the file with 'git lfs",
        ),
        ({"init": "{text}"}, "part of a ReferFormer; 'rvos train' starts from it with --text-weights"),
        ({"backbone_weights": "{text}"}, "model_type is 'roberta', but the model needs 'swin'"),
        ({"text_weights": "{backbone}"}, "no such folder; give a folder with config.json and model.safetensors"),
        ({"text_weights": "{bare}"}, "no tokenizer; the folder must hold tokenizer.json"),
    ],
)
def test_parts_that_cannot_be_used_are_refused_in_one_line(config, parts, tmp_path, changes, message):
    options, _ = parts
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((Path(options["text_weights"]) / name).read_bytes())
    (tmp_path / "swin.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:5ec1e7\nsize 1048576\n")
    paths = {
        "lfs": str(tmp_path / "swin.pth"),
        "text": options["text_weights"],
        "backbone": options["backbone_weights"],
        "bare": str(bare),
    }
    wrong = {name: value.format(**paths) for name, value in changes.items()}
    if "backbone_weights" in changes or "{backbone}" in changes.get("text_weights", ""):
        wrong["tokenizer"] = paths["text"]
    with pytest.raises(InputError, match=message) as refused:
        train.prepare(config(**wrong), Recipe(model=TINY), config().out)
    assert "\n" not in str(refused.value)
