"""Checkpoints: strict both ways, tolerant of exactly what published files hold besides, never half written."""

import argparse
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.errors import CheckpointError
from model.families import check_checkpoint, load_segmenter
from model.referformer import checkpoint
from model.referformer.checkpoint import (
    load_model,
    load_published,
    save_checkpoint,
    weights_digest,
)
from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import write_byte_level_tokenizer

BACKBONES = {
    "resnet": ResNetConfig(depths=(1, 1, 1, 1), widths=(4, 8, 8, 8)),
    "swin": SwinConfig(embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2), window=2),
    "video_swin": VideoSwinConfig(embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2), window=(2, 2, 2)),
}
SECOND = "transformer.decoder.bbox_embed.0.layers.0.weight"
FIRST = "bbox_embed.0.layers.0.weight"
POSITION_IDS = "text_encoder.embeddings.position_ids"


def tiny(backbone: str) -> ReferFormerConfig:
    return ReferFormerConfig(
        backbone=BACKBONES[backbone],
        text=TextConfig(vocab_size=261, hidden_size=16, layers=1, heads=2, intermediate_size=16),
        hidden_dim=16,
        heads=2,
        feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        mask_dim=8,
        mask_channels=2,
        projection_groups=4,
        pixel_groups=4,
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_level_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    return ReferFormer(tiny(request.param))


@pytest.fixture(scope="module")
def video_swin():
    return ReferFormer(tiny("video_swin"))


@pytest.fixture
def folder(tmp_path, video_swin, tokenizer):
    save_checkpoint(tmp_path / "checkpoint", video_swin.config, video_swin.state_dict(), tokenizer)
    return tmp_path / "checkpoint"


def as_published(model, tmp_path, change=lambda state: None, zipped=True):
    """A file as the authors write them, from the model's weights after `change`."""
    state = model.state_dict()
    state[POSITION_IDS] = torch.arange(model.config.text.max_positions)[None]
    state[POSITION_IDS.replace("position", "token_type")] = torch.zeros(1, 4, dtype=torch.int64)
    change(state)
    content = {"model": state, "optimizer": {"state": {}}, "epoch": 5, "args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "published.pth", _use_new_zipfile_serialization=zipped)
    return tmp_path / "published.pth"


def problems(error) -> list[str]:
    return [line.strip() for line in str(error.value).splitlines()[1:-1]]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_published_file_to_folder_to_model(model, tokenizer, tmp_path, zipped):
    published = load_published(as_published(model, tmp_path, zipped=zipped), model.config)
    save_checkpoint(tmp_path / "out", model.config, published.state, tokenizer)
    loaded = load_model(tmp_path / "out")
    assert loaded.config == model.config
    assert not loaded.training
    expected = model.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    assert all(tensor.equal(expected[name]) for name, tensor in loaded.state_dict().items())


def test_what_is_tolerated_is_told(video_swin, tmp_path):
    def change(state):
        state["backbone.0.body.total_params"] = torch.zeros(1, dtype=torch.float64)
        state["total_ops"] = torch.zeros(1)
        state[SECOND] = state[SECOND] + 1

    published = load_published(as_published(video_swin, tmp_path, change), video_swin.config)
    tables = [name for name in video_swin.state_dict() if name.endswith("relative_position_index")]
    assert set(published.tolerated["tensors that no model reads"]) == {
        POSITION_IDS,
        POSITION_IDS.replace("position", "token_type"),
        "backbone.0.body.total_params",
        "total_ops",
    }
    assert published.tolerated["index tables, equal to the computed ones"] == tables
    assert published.tolerated["second names with OTHER values, not used"] == [SECOND]
    assert len(published.tolerated["second names of the same tensor"]) == 11
    assert published.state[FIRST].equal(video_swin.state_dict()[FIRST])


def test_tables_and_first_names_may_be_absent(video_swin, tmp_path):
    def change(state):
        for name in [name for name in state if name.endswith("relative_position_index")]:
            del state[name]
        del state[POSITION_IDS], state[FIRST]

    published = load_published(as_published(video_swin, tmp_path, change), video_swin.config)
    assert published.state[FIRST].equal(video_swin.state_dict()[FIRST])


def test_everything_that_does_not_fit_is_listed(video_swin, tmp_path):
    table = next(name for name in video_swin.state_dict() if name.endswith("relative_position_index"))

    def change(state):
        del state["query_embed.weight"]
        state["transformer.level_embed"] = torch.zeros(4, 3)
        state["extra.weight"] = torch.zeros(2, 2)
        state["controller.layers.0.bias"] = state["controller.layers.0.bias"].long()
        state[table] = state[table].flip(0)
        state[SECOND] = torch.zeros(1)

    with pytest.raises(CheckpointError, match=r"does not hold this model:[^$]*\n6 names do not fit") as error:
        load_published(as_published(video_swin, tmp_path, change), video_swin.config)
    assert sorted(problems(error)) == [
        "missing: query_embed.weight [5, 16]",
        f"other values: {table}, a table that follows from the config",
        f"shape: {SECOND} is [1], the model has [16, 16]",
        "shape: transformer.level_embed is [4, 3], the model has [4, 16]",
        "type: controller.layers.0.bias is torch.int64, not floating-point",
        "unknown: extra.weight [2, 2]",
    ]


def test_another_backbone_is_refused(video_swin, tmp_path):
    path = as_published(video_swin, tmp_path)
    with pytest.raises(CheckpointError, match="check that the backbone is") as error:
        load_published(path, tiny("resnet"))
    assert "missing: backbone.0.body.conv1.weight [4, 3, 7, 7]" in problems(error)


def test_half_precision_is_loaded_as_float32(video_swin, tokenizer, tmp_path):
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in video_swin.state_dict().items()
    }
    save_checkpoint(tmp_path / "half", video_swin.config, half, tokenizer)
    assert load_file(tmp_path / "half" / "model.safetensors")["query_embed.weight"].dtype == torch.float16
    loaded = load_model(tmp_path / "half").state_dict()
    assert loaded["query_embed.weight"].dtype == torch.float32
    assert all(loaded[name].equal(tensor.to(loaded[name].dtype)) for name, tensor in half.items())


def test_segmenter_takes_the_folder(folder):
    segmenter = load_segmenter(folder, device="cpu", short_side=64)
    assert segmenter.count_tokens("a dog") == 7


def test_an_existing_folder_is_left_alone(folder, video_swin, tokenizer):
    before = weights_digest(folder)
    with pytest.raises(CheckpointError, match="already exists; choose a new folder"):
        save_checkpoint(folder, video_swin.config, video_swin.state_dict(), tokenizer)
    assert weights_digest(folder) == before


def test_an_empty_folder_may_be_written_to(tmp_path, video_swin, tokenizer):
    (tmp_path / "out").mkdir()
    save_checkpoint(tmp_path / "out", video_swin.config, video_swin.state_dict(), tokenizer)
    check_checkpoint(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("fails", ["tokenizer", "write"])
def test_a_failed_save_leaves_nothing(tmp_path, video_swin, tokenizer, monkeypatch, fails):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if fails == "write":
        monkeypatch.setattr(checkpoint.json, "dumps", full)  # after the weights
    with pytest.raises(OSError if fails == "write" else CheckpointError):
        source = tokenizer if fails == "write" else tmp_path
        save_checkpoint(tmp_path / "new" / "out", video_swin.config, video_swin.state_dict(), source)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_digest_changes_with_whatever_decides_the_masks(folder):
    digests = {weights_digest(folder)}
    assert weights_digest(folder) in digests
    (folder / "notes.txt").write_text("nothing")
    assert weights_digest(folder) in digests
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b" ")
        digests.add(weights_digest(folder))
        (folder / name).write_bytes(data)
    assert len(digests) == 4


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def drop_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["query_embed.weight"]
    save_file(tensors, folder / "model.safetensors")


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"config\.json: file not found"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: file not found"),
    "config not JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json: cannot be read"),
    "config of other keys": (
        lambda folder: edit(folder / "config.json", lambda values: values.update(window=3)),
        "unknown window",
    ),
    "config of other sizes": (
        lambda folder: edit(folder / "config.json", lambda values: values.update(queries=3)),
        r"shape: query_embed.weight is \[5, 16\], the model has \[3, 16\]",
    ),
    "weights cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "damaged or incomplete",
    ),
    "weights of something else": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"hello" * 100),
        "damaged, or not a model",
    ),
    "a tensor missing": (drop_tensor, r"missing: query_embed\.weight \[5, 16\]"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("load", [load_segmenter, check_checkpoint])
def test_broken_folders(folder, load, case):
    change, message = BROKEN[case]
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_a_folder_that_is_not_there(tmp_path):
    for use in (load_model, check_checkpoint, weights_digest):
        with pytest.raises(CheckpointError, match="a checkpoint is a folder with"):
            use(tmp_path / "none")


def test_the_default_size_of_the_input(folder, tmp_path, video_swin, tokenizer):
    assert check_checkpoint(folder).short_side == 360
    save_checkpoint(tmp_path / "sized", video_swin.config, video_swin.state_dict(), tokenizer, short_side=64)
    assert check_checkpoint(tmp_path / "sized").short_side == 64
    assert load_segmenter(tmp_path / "sized", device="cpu").prepare(np.zeros((90, 120, 3), np.uint8)).shape[0] == 64
    assert weights_digest(tmp_path / "sized") == weights_digest(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"size": 96}', '{"size": {"shortest_edge": "96"}}', '{"size": {"shortest_edge": 0}}']
)
def test_a_bad_default_size_is_refused(folder, text):
    (folder / "preprocessor_config.json").write_text(text)
    for use in (load_segmenter, check_checkpoint):
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: expected"):
            use(folder)


@pytest.mark.parametrize("odd", ["pipe", "device", "folder", "dead link"])
@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json"])
def test_a_file_that_is_none_is_not_passed_over(folder, name, odd):
    """Another size of the input, or another tokenizer beside it, would make other masks."""
    path = folder / name
    path.unlink(missing_ok=True)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if odd == "device" else "nowhere")
    with pytest.raises(CheckpointError, match=rf"{name}: not a regular file"):
        check_checkpoint(folder)
