"""Configs survive JSON and refuse what cannot be built."""

import json

import pytest

from model.referformer.config import PUBLISHED, QualityConfig, ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_config_survives_json(name):
    config = ReferFormerConfig.published(name)
    assert ReferFormerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_config_without_a_quality_head_is_written_as_before_there_was_one():
    values = ReferFormerConfig().to_dict()
    assert "quality" not in values
    headed = ReferFormerConfig(quality=QualityConfig(no_target_below=0.4))
    assert headed.to_dict() == values | {"quality": {"hidden_dim": 128, "no_target_below": 0.4}}
    assert ReferFormerConfig.from_dict(json.loads(json.dumps(headed.to_dict()))) == headed


def test_a_zero_is_written_like_every_other_number():
    assert ReferFormerConfig(dropout=0.0).to_dict()["dropout"] == 0.0


def test_boxes_of_masks_are_a_choice_of_the_config():
    assert "mask_boxes" not in ReferFormerConfig().to_dict()
    chosen = ReferFormerConfig(mask_boxes=True)
    assert chosen.to_dict()["mask_boxes"] is True
    assert ReferFormerConfig.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen


def test_missing_keys_take_the_published_values():
    assert ReferFormerConfig.from_dict({}) == ReferFormerConfig.published("resnet50")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 3}, "unknown hidden"),
        ({"backbone": {"type": "resnet", "depth": 3}}, r"config\.backbone: unknown depth"),
        ({"backbone": {"type": "vit"}}, "resnet, swin, video_swin"),
        ({"backbone": "resnet50"}, r"config\.backbone must be an object"),
        ({"hidden_dim": "256"}, r"config\.hidden_dim must be an integer"),
        ({"hidden_dim": 256.0}, "an integer"),
        ({"queries": True}, "an integer"),
        ({"dropout": "none"}, "a number"),
        ({"text": [1]}, r"config\.text must be an object"),
        ({"backbone": {"type": "resnet", "depths": [3, 4, 6]}}, "a list of 4 numbers"),
        ({"hidden_dim": 250}, "not a multiple of heads"),
        ({"levels": 2}, "at least 3"),
        ({"mask_boxes": 1}, r"config\.mask_boxes must be true or false"),
        ({"quality": {"hidden": 3}}, r"config\.quality: unknown hidden"),
        ({"quality": {"no_target_below": 1.0}}, r"no_target_below must be in \[0, 1\)"),
    ],
)
def test_from_dict_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        ReferFormerConfig.from_dict(values)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ReferFormerConfig.published("resnet18"), "resnet50"),
        (lambda: ReferFormerConfig(hidden_dim=18, heads=2, projection_groups=2, pixel_groups=2), "multiple of 4"),
        (lambda: ReferFormerConfig(mask_layers=1), "mask_layers"),
        (lambda: ReferFormerConfig(dropout=1.0), r"dropout must be in \[0, 1\)"),
        (lambda: ResNetConfig(widths=(8, 8, 8, 0)), "widths must be at least 1"),
        (lambda: SwinConfig(embed_dim=10), "not a multiple of heads"),
        (lambda: VideoSwinConfig(window=(0, 7, 7)), "window must be at least 1"),
        (lambda: VideoSwinConfig(motion_channels=-1), "motion_channels must be at least 0"),
        (lambda: VideoSwinConfig(motion_channels=8, patch=2), "a patch of 4"),
        (lambda: TextConfig(hidden_size=100), "hidden_size 100 is not a multiple of heads 12"),
    ],
)
def test_impossible_sizes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "values",
    [
        {"encoder_layers": 10**6},
        {"hidden_dim": 2**40},
        {"text": {"vocab_size": 2**31}},
        {"backbone": {"type": "resnet", "depths": [3, 4, 10**9, 3]}},
        {"backbone": {"type": "swin", "window": 10**4}},
    ],
)
def test_sizes_without_a_bound_are_refused(values):
    with pytest.raises(ValueError, match="must be at most"):
        ReferFormerConfig.from_dict(values)
