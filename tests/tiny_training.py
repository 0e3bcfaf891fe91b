"""A training of a tiny model that takes seconds."""

from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.training.optimizer import Rates
from pipeline.training.augment import Augmentation
from pipeline.training.recipe import Recipe, SmallModelOptions

BACKBONE = VideoSwinConfig(embed_dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window=(4, 4, 4))
TINY = ReferFormerConfig(
    backbone=BACKBONE,
    text=TextConfig(vocab_size=261, hidden_size=64, layers=2, heads=4, intermediate_size=128),
    hidden_dim=32,
    heads=4,
    feedforward_dim=32,
    encoder_layers=1,
    decoder_layers=1,
    mask_dim=32,
    projection_groups=8,
    pixel_groups=8,
)
FIXED = Augmentation(sizes=(64,), max_size=96, crop=0.0)
RECIPE = Recipe(
    epochs=2,
    drops=(2.0,),
    clips=2,
    frames=3,
    rates=Rates(main=1e-3, backbone=1e-3, text=1e-3, offsets=1e-3),
    clip_norm=1.0,
    freeze_text_encoder=False,
    augmentation=FIXED,
    short_side=64,
    max_size=96,
    checkpoint_steps=2,
    log_steps=3,
    small=SmallModelOptions(schedule="cosine"),
    model=TINY,
)
