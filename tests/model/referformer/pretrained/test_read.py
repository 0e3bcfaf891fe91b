"""Pretrained parts in the forms of torchvision, of the authors and of transformers are read; features as theirs."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from model.errors import CheckpointError
from model.referformer.network.referformer import ReferFormer
from model.referformer.pretrained.parts import by_module, load_backbone, load_text
from tests.pretrained_parts import (
    RESNET,
    SWIN,
    VIDEO,
    body,
    changed_folder,
    model,
    randomised,
    swin_file,
    torchvision_file,
    video_swin_file,
)

FRAMES = torch.rand(1, 2, 3, 136, 168, generator=torch.Generator().manual_seed(1))  # no stage is smaller than a window


def assert_close(maps, expected):
    for one, other in zip(maps, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())


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


def test_tables_that_older_folders_hold_are_not_used(hub, tmp_path):
    index = "swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    older = changed_folder(
        hub["swin"][0], tmp_path / "swin", lambda x: x.update({index: torch.zeros(9, 9, dtype=torch.int64)})
    )
    assert index in load_backbone(model(SWIN), older)[1]
    ids = "roberta.embeddings.position_ids"
    older = changed_folder(hub["roberta"][0], tmp_path / "text", lambda x: x.update({ids: torch.arange(20)[None]}))
    assert ids in load_text(model(RESNET), older)[1]


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
