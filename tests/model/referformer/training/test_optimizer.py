"""What trains, in which group, at which rate."""

from dataclasses import replace

import pytest

from model.referformer.config import QualityConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.training.optimizer import Rates, adamw, freeze, rate_factor


def test_every_trained_parameter_is_in_one_group(tiny_config):
    model = ReferFormer(tiny_config("video_swin"))
    optimizer = adamw(model, Rates(main=1.0, backbone=2.0, text=3.0, offsets=4.0), 0.1)
    names = {id(x): name for name, x in model.named_parameters()}
    seen = [id(x) for group in optimizer.param_groups for x in group["params"]]
    assert len(seen) == len(set(seen)) == len(names)
    for group in optimizer.param_groups:
        starts = {"backbone": "backbone.0.", "text": "text_encoder."}.get(group["name"], "")
        assert all(names[id(x)].startswith(starts) for x in group["params"])
        assert group["weight_decay"] == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == [
        {"main": 1.0, "backbone": 2.0, "text": 3.0, "offsets": 4.0}[group["name"]] for group in optimizer.param_groups
    ]


def test_frozen_parts_have_no_group(tiny_config):
    model = ReferFormer(tiny_config("resnet"))
    freeze(model, Rates(), text_encoder=True)
    optimizer = adamw(model, Rates(), 0.0)
    assert {group["name"] for group in optimizer.param_groups} == {"main", "backbone", "offsets"}
    frozen = {name for name, x in model.named_parameters() if not x.requires_grad and name.startswith("backbone")}
    assert frozen
    assert all(name.startswith(("backbone.0.body.conv1", "backbone.0.body.layer1")) for name in frozen)


def test_a_part_with_rate_0_is_frozen(tiny_config):
    model = ReferFormer(replace(tiny_config("video_swin"), quality=QualityConfig(hidden_dim=8)))
    rates = Rates(main=0.0, backbone=0.0, text=0.0, offsets=0.0)
    freeze(model, rates, text_encoder=False)
    (group,) = adamw(model, rates, 0.0).param_groups
    assert group["name"] == "quality"
    assert {id(x) for x in group["params"]} == {id(x) for x in model.quality_head.parameters()}


def test_steps_fall_by_ten_after_each_drop():
    factors = [rate_factor(p, schedule="steps", drops=(3.0, 5.0), warmup=0.0) for p in (0.0, 2.99, 3.0, 5.0)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01])


def test_cosine_ends_at_nothing_and_starts_slowly():
    factors = [rate_factor(p, schedule="cosine", drops=(4.0,), warmup=1.0) for p in (0.0, 1.0, 2.0, 4.0)]
    assert factors == pytest.approx([0, 0.853553, 0.5, 0], abs=1e-5)
