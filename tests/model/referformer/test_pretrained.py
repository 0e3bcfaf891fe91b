"""Pretrained parts: files in the forms of torchvision, of the authors and of transformers; features as theirs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from model.errors import CheckpointError
from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNet, ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.pretrained.parts import by_module, load_backbone, load_text

RESNET = ResNetConfig(depths=(1, 2, 1, 1), widths=(4, 8, 8, 16))
SIZES = {"embed_dim": 8, "depths": (2, 2, 1, 1), "heads": (1, 2, 2, 4), "drop_path": 0.0}
SWIN, VIDEO = SwinConfig(**SIZES, window=3), VideoSwinConfig(**SIZES, window=(4, 3, 3))
TEXT = TextConfig(vocab_size=40, hidden_size=16, layers=2, heads=4, intermediate_size=24, max_positions=20)
SMALL = ReferFormerConfig(
    text=TEXT, hidden_dim=32, heads=2, feedforward_dim=16, encoder_layers=1, decoder_layers=1, mask_dim=8
)
FRAMES = torch.rand(1, 2, 3, 136, 168, generator=torch.Generator().manual_seed(1))  # no stage is smaller than a window


def model(backbone) -> ReferFormer:
    torch.manual_seed(3)
    return ReferFormer(replace(SMALL, backbone=backbone)).eval()


def body(of: ReferFormer) -> torch.nn.Module:
    return of.get_submodule("backbone.0.body")


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Give all values other than those that they are made with; variances stay above 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, x in module.state_dict().items():
            if x.is_floating_point():
                noise = torch.randn(x.shape, generator=generator) * 0.1
                x.copy_(noise.abs() + 0.5 if name.endswith("running_var") else x + noise)
    return module.eval()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Folders as `transformers` writes them, each with the model that was saved."""
    import transformers as hf

    resnet = hf.ResNetConfig(embedding_size=4, hidden_sizes=[16, 32, 32, 64], depths=list(RESNET.depths), num_labels=3)
    swin = hf.SwinConfig(
        embed_dim=8,
        depths=[2, 2, 1, 1],
        num_heads=[1, 2, 2, 4],
        window_size=3,
        image_size=136,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    roberta = hf.RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=20,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    models = {
        "resnet": hf.ResNetForImageClassification(resnet),
        "swin": hf.SwinForImageClassification(swin),
        "swin with norms": hf.SwinBackbone(swin),
        "roberta": hf.RobertaForMaskedLM(roberta),
        "roberta without head": hf.RobertaModel(roberta),
    }
    folders = {}
    for name, saved in models.items():
        folder = tmp_path_factory.mktemp("hub") / name.replace(" ", "-")
        randomised(saved).save_pretrained(folder)
        folders[name] = folder, saved
    return folders


def assert_close(maps, expected):
    for one, other in zip(maps, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())


def torchvision_file(folder: Path, state: dict[str, torch.Tensor], *, zipped: bool = True) -> Path:
    """A state dict with the names of torchvision, from the tensors of our ResNet."""
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(9) for name in state}
    counters = {name: x for name, x in counters.items() if name.endswith("num_batches_tracked")}
    head = {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}
    torch.save(state | counters | head, folder / "resnet.pth", _use_new_zipfile_serialization=zipped)
    return folder / "resnet.pth"


def swin_file(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """What the authors of Swin publish, from the tensors of our Swin: a final norm instead of one per stage."""
    state = {name: x for name, x in state.items() if not re.match(r"norm\d", name)}
    state |= {"layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9)}
    state |= {"norm.weight": torch.zeros(64), "norm.bias": torch.zeros(64), "head.weight": torch.zeros(10, 64)}
    torch.save({"model": state}, folder / "swin.pth")
    return folder / "swin.pth"


def video_swin_file(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """What the authors of Video-Swin publish, from the tensors of ours: patches of two frames, all under a prefix."""
    patch = state["patch_embed.proj.weight"]
    state = {re.sub(r"^downsamples\.(\d)", r"layers.\1.downsample", name): x for name, x in state.items()}
    state |= {"patch_embed.proj.weight": torch.cat([patch * 0.25, patch * 0.75], 2), "norm.weight": torch.zeros(64)}
    state = {f"backbone.{name}": x for name, x in state.items()} | {"cls_head.fc_cls.bias": torch.zeros(400)}
    torch.save({"meta": {"epoch": 30, "config": "model = dict()"}, "state_dict": state}, folder / "video_swin.pth")
    return folder / "video_swin.pth"


@pytest.mark.parametrize("zipped", [True, False])
def test_resnet_of_torchvision(tmp_path, zipped):
    source, target = randomised(body(model(RESNET))), model(RESNET)
    path = torchvision_file(tmp_path, source.state_dict(), zipped=zipped)
    fresh, unused = load_backbone(target, path)
    assert fresh == []
    assert {"fc.weight", "fc.bias", "bn1.num_batches_tracked"} <= set(unused)
    assert len(unused) == 2 + sum(name.endswith("running_mean") for name in source.state_dict())
    assert_close(body(target)(FRAMES), source(FRAMES))


def test_resnet_of_transformers(hub):
    folder, saved = hub["resnet"]
    target = model(RESNET)
    fresh, unused = load_backbone(target, folder)
    assert fresh == []
    assert "classifier.1.weight" in unused
    with torch.no_grad():
        expected = saved(FRAMES[0], output_hidden_states=True).hidden_states[1:]
        assert_close(body(target)(FRAMES), expected)


def test_swin_of_transformers(hub):
    target = model(SWIN)
    fresh, unused = load_backbone(target, hub["swin"][0])
    assert by_module(fresh, target) == {f"backbone.0.body.norm{stage}": 2 for stage in range(4)}
    assert set(unused) == {"classifier.bias", "classifier.weight", "swin.layernorm.bias", "swin.layernorm.weight"}
    folder, saved = hub["swin with norms"]
    assert load_backbone(target, folder)[0] == []
    with torch.no_grad():
        assert_close(body(target)(FRAMES), saved(FRAMES[0]).feature_maps)


def test_swin_of_its_authors(hub, tmp_path):
    source, target = model(SWIN), model(SWIN)
    load_backbone(source, hub["swin"][0])
    fresh, unused = load_backbone(target, swin_file(tmp_path, body(source).state_dict()))
    assert len(fresh) == 8
    assert {"head.weight", "norm.weight", "layers.0.blocks.1.attn_mask"} <= set(unused)
    with torch.no_grad():
        assert_close(body(target)(FRAMES), body(source)(FRAMES))


def test_video_swin_of_its_authors(tmp_path):
    source, target = randomised(body(model(VIDEO))), model(VIDEO)
    fresh, unused = load_backbone(target, video_swin_file(tmp_path, source.state_dict()))
    assert fresh == []
    assert {"cls_head.fc_cls.bias", "backbone.norm.weight"} <= set(unused)
    with torch.no_grad():
        assert_close(body(target)(FRAMES), source(FRAMES))


@pytest.mark.parametrize("form", ["transformers", "authors"])
@pytest.mark.parametrize("times", [1, 3])
def test_inflated_over_time_a_still_clip_looks_as_its_image(hub, tmp_path, form, times):
    flat, target = model(SWIN), model(VIDEO)
    folder = hub["swin"][0]
    load_backbone(flat, folder)
    fresh, _ = load_backbone(target, folder if form == "transformers" else swin_file(tmp_path, body(flat).state_dict()))
    assert fresh == []
    still = FRAMES[:, :1].expand(-1, times, -1, -1, -1)
    with torch.no_grad():
        maps = [F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2) for x in body(target)(still)]
        assert_close(maps, body(flat)(still))


def test_an_inflated_table_takes_the_size_of_the_window(hub):
    target = model(replace(VIDEO, window=(2, 5, 5)))
    load_backbone(target, hub["swin"][0])
    table = body(target).state_dict()["layers.0.blocks.0.attn.relative_position_bias_table"].view(3, 9, 9, -1)
    own = load_file(hub["swin"][0] / "model.safetensors")[
        "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"
    ]
    assert torch.equal(table[0], table[2])
    torch.testing.assert_close(table[0, 4, 4], own.view(5, 5, -1)[2, 2])  # bicubic keeps the centre


@pytest.mark.parametrize(("name", "fresh"), [("roberta", {"text_encoder.pooler": 2}), ("roberta without head", {})])
def test_roberta_of_the_hub(hub, name, fresh):
    folder, saved = hub[name]
    target = model(RESNET)
    left, unused = load_text(target, folder)
    assert by_module(left, target) == fresh
    assert all(one.startswith("lm_head.") for one in unused)
    assert bool(unused) == bool(fresh)
    ids = torch.tensor([[0, 5, 6, 7, 2], [0, 9, 2, 1, 1]])
    inner = saved.roberta if fresh else saved
    with torch.no_grad():
        expected = inner(ids, attention_mask=(ids != 1).long()).last_hidden_state
        found = target.text_encoder(ids, ids != 1).last_hidden_state
    torch.testing.assert_close(found[ids != 1], expected[ids != 1], atol=1e-5, rtol=1e-5)


def changed_folder(folder: Path, to: Path, change=None, **config) -> Path:
    """A copy of a folder with other tensors or another config."""
    to.mkdir()
    tensors = load_file(folder / "model.safetensors")
    if change:
        change(tensors)
    save_file(tensors, to / "model.safetensors")
    values = json.loads((folder / "config.json").read_text()) | config
    (to / "config.json").write_text(json.dumps(values))
    return to


def test_tables_that_older_folders_hold_are_not_used(hub, tmp_path):
    index = "swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    older = changed_folder(
        hub["swin"][0], tmp_path / "swin", lambda x: x.update({index: torch.zeros(9, 9, dtype=torch.int64)})
    )
    assert index in load_backbone(model(SWIN), older)[1]
    ids = "roberta.embeddings.position_ids"
    older = changed_folder(hub["roberta"][0], tmp_path / "text", lambda x: x.update({ids: torch.arange(20)[None]}))
    assert ids in load_text(model(RESNET), older)[1]


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


def test_wrappers_and_other_parts_of_a_model_are_left_out(tmp_path):
    def load(state: dict[str, torch.Tensor], backbone) -> tuple[list[str], ReferFormer]:
        torch.save({"state_dict": state}, tmp_path / "wrapped.pth")
        target = model(backbone)
        return load_backbone(target, tmp_path / "wrapped.pth")[1], target

    for backbone in (RESNET, SWIN):
        own = randomised(body(model(backbone))).state_dict()
        for prefix in ("module.", "backbone.", "module.backbone."):
            other = {f"{prefix.removesuffix('backbone.')}{name}": torch.ones(1) for name in ("head.fc.bias", "neck.x")}
            state = {f"{prefix}{name}": x for name, x in own.items()} | (other if "backbone" in prefix else {})
            unused, target = load(state, backbone)
            assert all(torch.equal(x, own[name]) for name, x in body(target).state_dict().items())
            assert {name for name in unused if not name.endswith("_index")} == set(
                other if "backbone" in prefix else ()
            )
    detr = {f"backbone.0.body.{name}": x for name, x in body(model(RESNET)).state_dict().items()}
    with pytest.raises(
        CheckpointError, match="seems to hold a whole DETR, whose backbone is not read; give the weights o"
    ):
        load(detr | {"transformer.decoder.norm.bias": torch.ones(1)}, RESNET)


def test_norms_behind_stages_are_not_used_by_a_video_swin(hub):
    flat, target = model(SWIN), model(VIDEO)
    folder = hub["swin with norms"][0]
    load_backbone(flat, folder)
    unused = load_backbone(target, folder)[1]
    assert sum("hidden_states_norms" in name for name in unused) == 8
    name = "layers.3.blocks.0.mlp.fc1.weight"
    assert torch.equal(body(target).state_dict()[name], body(flat).state_dict()[name])


@pytest.mark.parametrize("source", ["swin", "roberta"])
def test_folders_in_parts_or_pickled_hold_the_same(hub, tmp_path, source):
    folder, saved = hub[source]
    load, backbone = (load_text, RESNET) if source == "roberta" else (load_backbone, SWIN)
    whole = model(backbone)
    load(whole, folder)
    saved.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(load_file(folder / "model.safetensors"), pickled / "pytorch_model.bin")
    for other in (tmp_path / "parts", pickled):
        target = model(backbone)
        load(target, other)
        assert all(torch.equal(x, whole.state_dict()[name]) for name, x in target.state_dict().items())
    with pytest.raises(CheckpointError, match="a file of transformers; give its folder"):
        load_backbone(model(backbone), pickled / "pytorch_model.bin")
    part = next((tmp_path / "parts").glob("model-00002-*"))
    part.unlink()
    with pytest.raises(CheckpointError, match=f"{part.name} is not in the folder; download the folder again"):
        load(model(backbone), tmp_path / "parts")
    index = tmp_path / "parts" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../roberta/model.safetensors"}}))
    with pytest.raises(CheckpointError, match="is not the name of a file of safetensors next to it"):
        load(model(backbone), tmp_path / "parts")


def test_a_config_with_all_classes_of_imagenet_is_read(hub, tmp_path):
    classes = {str(number): f"a name, a second name of class {number}, a third one" for number in range(21841)}
    folder = changed_folder(hub["swin"][0], tmp_path / "22k", id2label=classes)
    assert (folder / "config.json").stat().st_size > 2**20
    load_backbone(model(SWIN), folder)


def test_heads_of_roberta_are_not_used(hub, tmp_path):
    heads = {"classifier.dense.bias": torch.ones(2), "qa_outputs.weight": torch.ones(2)}
    folder = changed_folder(hub["roberta"][0], tmp_path / "heads", lambda tensors: tensors.update(heads))
    assert heads.keys() <= set(load_text(model(RESNET), folder)[1])


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
