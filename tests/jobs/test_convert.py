"""`rvos convert`: from a published file to a folder that loads strictly; wrong input refused with its reason."""

import argparse
import json
from collections import Counter

import pytest
import torch

from jobs import convert
from jobs.convert import ConvertConfig
from model.referformer.checkpoint import load_model, weights_digest
from model.referformer.config import PUBLISHED, ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import write_byte_level_tokenizer
from pipeline.io import storage
from pipeline.io.local_copy import local_folder
from schemas.errors import InputError
from tests import parity
from tests.reference import Recordings

TINY = ReferFormerConfig(
    backbone=ResNetConfig(depths=(1, 1, 1, 1), widths=(4, 8, 8, 8)),
    text=TextConfig(vocab_size=261, hidden_size=16, layers=1, heads=2, intermediate_size=16),
    hidden_dim=32,
    heads=2,
    feedforward_dim=16,
    encoder_layers=1,
    decoder_layers=2,
    mask_dim=8,
    mask_channels=2,
)


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Options of a conversion that works, of a tiny model that goes by the name resnet50."""
    monkeypatch.setattr(ReferFormerConfig, "published", classmethod(lambda cls, name: TINY))
    (tmp_path / "tokenizer").mkdir()
    write_byte_level_tokenizer(tmp_path / "tokenizer")
    torch.save(content(ReferFormer(TINY).state_dict()), tmp_path / "model.pth")
    paths = {"checkpoint": "model.pth", "tokenizer": "tokenizer", "out": "out"}
    return {"backbone": "resnet50"} | {name: str(tmp_path / path) for name, path in paths.items()}


def content(state):
    """What the published training script saves."""
    return {
        "model": state,
        "optimizer": {"state": {0: {"step": 9, "exp_avg": torch.zeros(3, 3)}}, "param_groups": [{"lr": 1e-4}]},
        "lr_scheduler": {"milestones": Counter({3: 1, 5: 1}), "gamma": 0.1},
        "epoch": 5,
        "args": argparse.Namespace(lr=1e-4, lr_drop=[3, 5], backbone="resnet50", output_dir="out"),
    }


def test_convert_reports_what_it_wrote(options):
    result = convert.run(ConvertConfig(**options))
    assert result.digest == weights_digest(options["out"])
    model = load_model(options["out"])
    assert result.numbers == sum(
        tensor.numel() for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()
    )
    assert "left out 12 second names of the same tensor: transformer.decoder.bbox_embed.0" in result.text()
    assert json.loads(json.dumps(result.to_json()))["tensors"] == result.tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet18"}, "unknown --backbone 'resnet18'; choose from resnet50, resnet101"),
        ({"checkpoint": "/nowhere/a.pth"}, "no such file"),
        ({"tokenizer": "/nowhere"}, "no tokenizer"),
    ],
)
def test_wrong_options(options, change, message):
    with pytest.raises(InputError, match=message):
        convert.run(ConvertConfig(**options | change))


@pytest.mark.s3
def test_from_and_to_s3(options, tmp_path, s3):
    base = f"{s3}/{tmp_path.name}"
    there = {"checkpoint": f"{base}/model.pth", "tokenizer": f"{base}/tokenizer", "out": f"{base}/out"}
    with pytest.raises(InputError, match="model.pth: no such file"):
        convert.run(ConvertConfig(**options | there))
    for path in (tmp_path / "model.pth", *(tmp_path / "tokenizer").iterdir()):
        storage.write_bytes(f"{base}/{path.relative_to(tmp_path)}", path.read_bytes())
    digest = convert.run(ConvertConfig(**options | there)).digest
    with local_folder(there["out"]) as folder:
        assert weights_digest(folder) == digest == convert.run(ConvertConfig(**options)).digest
    with pytest.raises(InputError, match="is not empty"):
        convert.run(ConvertConfig(**options | there))
    storage.write_bytes(there["checkpoint"], b"not a checkpoint")
    with pytest.raises(InputError, match=f"{there['checkpoint']}: not a checkpoint written by torch.save"):
        convert.run(ConvertConfig(**options | there | {"out": f"{base}/other"}))


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_backbone_is_found_in_the_file(golden, backbone, tmp_path):
    entries = json.loads((golden / f"parity/keys/{backbone}.json").read_text())["state_dict"]
    tensors = {name: torch.empty(shape, device="meta") for name, shape, *_ in entries}
    assert convert._backbone(ConvertConfig(checkpoint="m.pth", tokenizer="t", out="o"), tensors) == backbone
    other = next(name for name in PUBLISHED if name != backbone)
    config = ConvertConfig(checkpoint="m.pth", backbone=other, tokenizer="t", out="o")
    with pytest.raises(InputError, match=f"--backbone {other}: m.pth holds {backbone}; leave --backbone out"):
        convert._backbone(config, tensors)


def test_another_model_has_no_published_backbone(options):
    with pytest.raises(InputError, match="none of the published backbones: resnet50, "):
        convert.run(ConvertConfig(**options | {"backbone": None}))


def test_a_folder_in_use_is_refused_before_the_work(options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        convert.run(ConvertConfig(**options | {"checkpoint": "/nowhere/a.pth"}))


def test_a_checkpoint_of_another_model_leaves_nothing(options, tmp_path):
    torch.save(content({"weight": torch.ones(2)}), tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"unknown: weight \[2\]"):
        convert.run(ConvertConfig(**options))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", "tokenizer"]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "zipped"), [("resnet50", True), ("video_swin_t_p4w7", False)])
def test_full_size(shared, tmp_path, backbone, zipped):
    """The names and shapes of the published checkpoints, with weights that follow from the names."""
    keys = Recordings(parity.folder(), may_lack=True) / f"keys/{backbone}.json"
    entries = json.loads(keys.read_text())["state_dict"]
    tables = dict(ReferFormer(ReferFormerConfig.published(backbone)).named_buffers())
    tables["text_encoder.embeddings.position_ids"] = torch.arange(514)[None]
    state = {
        name: torch.from_numpy(parity.fill(name, tuple(shape))) if dtype == "float32" else tables[name].clone()
        for name, shape, dtype, _ in entries
    }
    torch.save(content(state), tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    result = convert.run(
        ConvertConfig(
            checkpoint=str(tmp_path / "model.pth"),
            tokenizer=str(shared / "data" / "tokenizer" / "roberta-base"),
            out=str(tmp_path / "out"),
        )
    )
    loaded = load_model(result.out).state_dict()
    assert set(state) - set(loaded) == {"text_encoder.embeddings.position_ids"}
    assert all(tensor.equal(state[name]) for name, tensor in loaded.items())
