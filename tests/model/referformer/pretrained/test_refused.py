"""Files and folders that are no weights for the model are refused, with what they hold and a way out."""

import json
import re
from dataclasses import replace

import pytest
import torch

from model.errors import CheckpointError
from model.referformer.network.backbones.resnet import ResNet, ResNetConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.pretrained.parts import load_backbone, load_text
from tests.pretrained_parts import (
    RESNET,
    SMALL,
    SWIN,
    TEXT,
    VIDEO,
    body,
    changed_folder,
    model,
    torchvision_file,
    video_swin_file,
)


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ("resnet", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck is True, but the model needs False"),
        ("resnet", {"layer_type": "basic"}, "layer_type is 'basic', but the model needs 'bottleneck'"),
        ("resnet", {"model_type": "regnet"}, "model_type is 'regnet', but the model needs 'resnet'"),
        ("swin", {"model_type": "swinv2"}, "model_type is 'swinv2', but the model needs 'swin'"),
        ("swin", {"hidden_act": "relu"}, "hidden_act is 'relu', but the model needs 'gelu'"),
        ("roberta", {"num_attention_heads": 2}, "num_attention_heads is 2, but the model needs 4"),
        ("roberta", {"model_type": "xlm-roberta"}, "model_type is 'xlm-roberta', but the model needs 'roberta'"),
        ("roberta", {"layer_norm_eps": 1e-12}, "layer_norm_eps is 1e-12, but the model needs 1e-05"),
    ],
)
def test_a_folder_that_computes_otherwise_is_refused(hub, tmp_path, source, config, message):
    folder = changed_folder(hub[source][0], tmp_path / "changed", **config)
    load = load_text if source == "roberta" else load_backbone
    with pytest.raises(CheckpointError, match=message):
        load(model(RESNET if source == "resnet" else SWIN), folder)


def test_tensors_that_do_not_fit_are_named(hub, tmp_path):
    folder = hub["resnet"][0]
    name = "resnet.encoder.stages.1.layers.0.layer.1.convolution.weight"
    target = model(RESNET)
    before = body(target).conv1.weight.clone()
    for number, (change, message) in enumerate(
        [
            (lambda tensors: tensors.pop(name), r"missing: layer2.0.conv2.weight \[8, 8, 3, 3\]. It seems to hold"),
            (lambda tensors: tensors.update({name: torch.ones(8, 8, 1, 1)}), r"shape: layer2.0.conv2.weight is \[8, 8"),
            (
                lambda tensors: tensors.update({name: torch.ones(8, 8, 3, 3, dtype=torch.int8)}),
                "is int8, not floating-poi",
            ),
            (
                lambda tensors: tensors.update({name: torch.ones(8, 8, 3, 3).to(torch.float8_e4m3fn)}),
                "is float8_e4m3fn, n",
            ),
            (
                lambda tensors: tensors.update({name: torch.full((8, 8, 3, 3), torch.nan)}),
                "holds NaN or infinity: the fi",
            ),
            (
                lambda tensors: tensors.update({name: torch.full((8, 8, 3, 3), 1e300, dtype=torch.float64)}),
                r"layer2.0.conv2.weight holds NaN or infinity: the file is damaged.*download it again",
            ),
            (
                lambda tensors: tensors["resnet.embedder.embedder.normalization.running_var"].neg_(),
                "bn1.running_var holds variances below 0",
            ),
            (lambda tensors: tensors.update({"resnet.extra": torch.ones(1)}), r"unknown: extra \[1\]"),
        ]
    ):
        with pytest.raises(CheckpointError, match=message) as refused:
            load_backbone(target, changed_folder(folder, tmp_path / str(number), change))
        assert "\n" not in str(refused.value)
    assert torch.equal(body(target).conv1.weight, before)


def test_keys_that_a_config_lacks_mean_what_transformers_takes(hub, tmp_path):
    folder = changed_folder(hub["roberta"][0], tmp_path / "bare")
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta", "layer_norm_eps": 1e-5}))
    with pytest.raises(
        CheckpointError, match="num_attention_heads is 12, but the model needs 4; give roberta-base, or"
    ):
        load_text(model(RESNET), folder)
    (folder / "config.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(CheckpointError, match="no model_type, so it is not of transformers"):
        load_backbone(model(RESNET), folder)


def test_a_window_of_another_size_is_named(tmp_path):
    for window, found in ((5, SWIN), (12, SWIN)):
        torch.save(body(model(replace(SWIN, window=window))).state_dict(), tmp_path / "swin.pth")
        with pytest.raises(
            CheckpointError, match=rf"8 wide, window {window}; give .* or a recipe with the sizes of th"
        ):
            load_backbone(model(found), tmp_path / "swin.pth")
    tables = {"layers.0.blocks.0.attn.relative_position_bias_table": torch.ones(0, 1)}
    torch.save(body(model(SWIN)).state_dict() | tables, tmp_path / "swin.pth")
    with pytest.raises(CheckpointError, match=r"relative_position_bias_table is \[0, 1\]"):
        load_backbone(model(VIDEO), tmp_path / "swin.pth")


def test_weights_of_another_published_backbone_name_its_option(tmp_path):
    named = ResNet(ResNetConfig(depths=(3, 4, 6, 3), widths=(64, 1, 1, 1))).state_dict()
    for state, way in (
        (named, r"bottlenecks \(resnet50\); give the weights of this backbone, or --backbone resnet50$"),
        (
            named | {"layer1.0.conv2.weight": torch.ones(128, 2, 3, 3)},
            r"bottlenecks; give .* under \[model.backbone\]$",
        ),
    ):
        torch.save(state, tmp_path / "resnet.pth")
        with pytest.raises(CheckpointError, match=way):
            load_backbone(model(RESNET), tmp_path / "resnet.pth")


def test_another_protocol_of_pickle_has_a_way_out(tmp_path):
    torch.save(body(model(RESNET)).state_dict(), tmp_path / "new.pth", pickle_protocol=4)
    with pytest.raises(
        CheckpointError, match=r"torch cannot read it safely \(Unsupported operand 149\). If you trust its"
    ):
        load_backbone(model(RESNET), tmp_path / "new.pth")


def test_it_says_what_a_file_of_another_model_holds(hub, tmp_path):
    deeper = ResNet(ResNetConfig(depths=(3, 4, 23, 3), widths=(1, 1, 1, 1))).state_dict()
    basic = {name: x for name, x in deeper.items() if ".conv3" not in name}
    files = {
        "a ResNet of 3, 4, 23, 3 bottlenecks; give": torchvision_file(tmp_path, deeper),
        "a Swin of 2, 2, 1, 1 blocks, 8 wide": hub["swin"][0],
    }
    for said, path in files.items():
        target = model(SWIN if "ResNet" in said else VIDEO)
        if path.is_dir():
            target = model(replace(VIDEO, embed_dim=16))
        with pytest.raises(CheckpointError, match=re.escape(said)):
            load_backbone(target, path)
    with pytest.raises(CheckpointError, match="basic blocks, as ResNet-18 and -34"):
        load_backbone(model(RESNET), torchvision_file(tmp_path, basic))
    with pytest.raises(CheckpointError, match=r"a Video-Swin of 2, 2, 1, 1 blocks, 8 wide"):
        load_backbone(model(SWIN), video_swin_file(tmp_path, body(model(VIDEO)).state_dict()))
    torch.save({"model": model(RESNET).state_dict()}, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match="a whole ReferFormer, which --init takes after 'rvos convert'"):
        load_backbone(model(RESNET), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match="a text encoder of 2 layers, 16 wide, with 40 tokens"):
        larger = replace(SMALL, text=replace(TEXT, vocab_size=41))
        load_text(ReferFormer(larger), hub["roberta"][0])


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_no_code_in_a_file_runs(tmp_path, capsys):
    torch.save({"model": {"conv1.weight": torch.ones(1)}, "args": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(CheckpointError, match=r"none of its code was run. Reading it would call or build: .*print"):
        load_backbone(model(RESNET), tmp_path / "harm.pth")
    assert capsys.readouterr().out == ""


def test_what_is_no_source_is_refused(hub, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_backbone(model(RESNET), tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"no config.json; give a folder of transformers"):
        load_backbone(model(RESNET), tmp_path)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0f1e"
    snapshot.parent.mkdir(parents=True)
    changed_folder(hub["resnet"][0], snapshot)
    with pytest.raises(CheckpointError, match=f"no config.json; give {snapshot}, a folder of transformers"):
        load_backbone(model(RESNET), tmp_path / "models--a--b")
    with pytest.raises(CheckpointError, match="a file of transformers; give its folder, with config.json"):
        load_backbone(model(RESNET), hub["resnet"][0] / "model.safetensors")
    (tmp_path / "text.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_text(model(RESNET), tmp_path / "text.bin")
    folder = changed_folder(hub["roberta"][0], tmp_path / "cut")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged or incomplete, fetch it again"):
        load_text(model(RESNET), folder)


@pytest.mark.parametrize(
    ("config", "name", "shape"),
    [
        (RESNET, "layer1.0.conv2.weight", (8, 2, 3, 3)),  # grouped, as in ResNeXt
        (SWIN, "layers.0.downsample.norm.weight", None),  # where timm has other names
        (SWIN, "layers.0.blocks.0.mlp.fc1.weight", (16, 8)),
        (SWIN, "layers.0.blocks.0.attn.qkv.bias", None),
    ],
)
def test_other_parts_of_the_same_sizes_need_another_file(tmp_path, config, name, shape):
    """No recipe has such parts."""
    tensors = body(model(config)).state_dict()
    tensors.pop(name)
    torch.save(tensors | ({name: torch.ones(shape)} if shape else {}), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="its sizes are those of the model, but not its names or parts: give the"):
        load_backbone(model(config), tmp_path / "weights.pth")
