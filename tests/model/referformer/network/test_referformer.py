"""The whole model at sizes that are nobody's default: shapes, shared work, gradients, refusals."""

from dataclasses import replace

import pytest
import torch

from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch

WORDS = TokenBatch(
    ids=torch.tensor([[0, 5, 6, 7, 2], [0, 9, 2, 1, 1]]),
    mask=torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["resnet", "swin", "video_swin"])
def model(request, tiny_config):
    return ReferFormer(tiny_config(request.param)).eval()


def some(words: TokenBatch, row: int) -> TokenBatch:
    length = int(words.mask[row].sum())
    return TokenBatch(words.ids[row : row + 1, :length], words.mask[row : row + 1, :length])


def pad(frames: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames in a larger batch shape, and their padding."""
    padded = frames.new_zeros(*frames.shape[:3], height, width)
    padded[..., : frames.shape[3], : frames.shape[4]] = frames
    padding = torch.ones(padded[:, :, 0].shape, dtype=torch.bool)
    padding[..., : frames.shape[3], : frames.shape[4]] = False
    return padded, padding


@torch.inference_mode()
def test_shapes(model):
    out = model(torch.randn(2, 3, 3, 45, 62), WORDS)
    stride = model.config.backbone.stride
    assert out.logits.shape == (2, 3, 3, 1)
    assert out.boxes.shape == (2, 3, 3, 4)
    assert out.masks.shape == (2, 3, 3, -(-45 // stride), -(-62 // stride))
    assert out.reference_points.shape == (2, 3, 3, 2)
    assert len(out.aux) == 1
    assert all(x.isfinite().all() for x in (out.logits, out.boxes, out.masks))


@torch.inference_mode()
def test_sentences_share_the_video(model):
    """Two sentences behind one backbone pass give what two whole passes give."""
    frames = torch.randn(1, 3, 3, 40, 56)
    together = model.decode(model.encode_video(frames), model.encode_text(WORDS))
    masks = model.masks(together)
    for row in range(2):
        alone = model(frames, some(WORDS, row))
        torch.testing.assert_close(together.logits[-1][row : row + 1], alone.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(masks[row : row + 1], alone.masks, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(model.masks(together, query=1)[row, :, 0], masks[row, :, 1], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_each_clip_of_a_batch_has_its_own_sentences(model):
    frames = torch.randn(2, 3, 3, 40, 56)
    words = TokenBatch(WORDS.ids[[0, 1, 1, 0]], WORDS.mask[[0, 1, 1, 0]])
    together = model(frames, words)
    for row, clip in enumerate([0, 0, 1, 1]):
        alone = model(frames[clip : clip + 1], some(words, row))
        torch.testing.assert_close(together.logits[row : row + 1], alone.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.masks[row : row + 1], alone.masks, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="3 sentences are not the same number for each of 2 clips"):
        model(frames, TokenBatch(words.ids[:3], words.mask[:3]))


@torch.inference_mode()
def test_padded_batch_equals_padded_clips(model):
    """Clips of two sizes in a batch do not see each other; sizes are read off the padding."""
    clips = [pad(torch.randn(1, 2, 3, 64, 48), 64, 64), pad(torch.randn(1, 2, 3, 40, 64), 64, 64)]
    frames, padding = (torch.cat(parts) for parts in zip(*clips, strict=True))
    sizes = torch.tensor([[64, 48], [40, 64]])
    together = model(frames, WORDS, padding=padding)
    torch.testing.assert_close(together.masks, model(frames, WORDS, padding=padding, sizes=sizes).masks)
    for row in range(2):
        one = slice(row, row + 1)
        alone = model(frames[one], some(WORDS, row), padding=padding[one])
        torch.testing.assert_close(together.logits[one], alone.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.masks[one], alone.masks, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_empty_padding_changes_nothing(model):
    frames = torch.randn(2, 2, 3, 48, 48)
    padding = torch.zeros(2, 2, 48, 48, dtype=torch.bool)
    torch.testing.assert_close(model(frames, WORDS).masks, model(frames, WORDS, padding=padding).masks)


@torch.inference_mode()
def test_valid_indices_keep_one_frame(model):
    frames = torch.randn(2, 3, 3, 48, 40)
    out = model(frames, WORDS, valid_indices=torch.tensor([2, 0]))
    assert out.masks.shape[:3] == (2, 1, 3)
    if not isinstance(model.config.backbone, VideoSwinConfig):  # there the other frames are context
        chosen = torch.stack((frames[0, 2:], frames[1, :1]))
        torch.testing.assert_close(out.logits, model(chosen, WORDS).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": 3},
        {"levels": 6, "decoder_layers": 1},
        {"hidden_dim": 32, "heads": 4, "projection_groups": 1, "pixel_groups": 32, "mask_layers": 2},
        {"num_classes": 7, "queries": 1, "mask_layers": 4, "encoder_layers": 3},
    ],
)
@torch.inference_mode()
def test_other_sizes(tiny_config, changes):
    config = tiny_config("resnet", **changes)
    out = ReferFormer(config).eval()(torch.randn(2, 2, 3, 64, 80), WORDS)
    assert out.logits.shape == (2, 2, config.queries, config.num_classes)
    assert out.masks.shape == (2, 2, config.queries, 16, 20)


def test_two_million_parameters_are_a_config():
    config = ReferFormerConfig(
        backbone=VideoSwinConfig(embed_dim=32, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window=(4, 7, 7)),
        text=TextConfig(vocab_size=261, hidden_size=64, layers=2, heads=2, intermediate_size=128),
        hidden_dim=64,
        heads=4,
        feedforward_dim=128,
        encoder_layers=2,
        decoder_layers=2,
        mask_dim=16,
        projection_groups=16,
    )
    parameters = sum(x.numel() for x in ReferFormer(config).parameters())
    assert 1e6 < parameters < 3e6


@pytest.mark.parametrize("backbone", ["resnet", "swin", "video_swin"])
def test_every_parameter_receives_a_gradient(tiny_config, backbone):
    config = tiny_config(backbone, dropout=0.1)
    model = ReferFormer(replace(config, text=replace(config.text, dropout=0.1))).train()
    for weight in model.parameters():  # fresh heads and offsets are zero and would hold back what lies behind them
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    frames, padding = pad(torch.randn(2, 3, 3, 40, 48), 48, 48)
    out = model(frames, WORDS, padding=padding)
    loss = sum(
        layer.logits.square().sum() + layer.boxes.square().sum() + layer.masks.square().mean()
        for layer in (out, *out.aux)
    )
    loss.backward()
    without = [name for name, x in model.named_parameters() if x.grad is None or not x.grad.isfinite().all()]
    assert not without
    unused = [name for name, x in model.named_parameters() if not x.grad.any()]
    assert all(name.startswith("text_encoder.embeddings.token_type") or "key.bias" in name for name in unused)


def test_refusals(tiny_config):
    model = ReferFormer(tiny_config("resnet")).eval()
    with pytest.raises(ValueError, match="28 x 64 are too small: the model needs at least 29"):
        model.encode_video(torch.zeros(1, 1, 3, 28, 64))
    padding = torch.zeros(2, 2, 32, 32, dtype=torch.bool)
    padding[1, 1] = True
    with pytest.raises(ValueError, match="clips of unequal length"):
        model.encode_video(torch.zeros(2, 2, 3, 32, 32), padding=padding)
    with pytest.raises(ValueError, match="65 tokens; the text encoder takes at most 64"):
        model.encode_text(TokenBatch(torch.full((1, 65), 5), torch.ones(1, 65, dtype=torch.bool)))
    model(torch.zeros(1, 1, 3, 29, 29), TokenBatch(torch.full((1, 64), 5), torch.ones(1, 64, dtype=torch.bool)))


MOTION = VideoSwinConfig(
    embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), window=(2, 3, 4), drop_path=0.0, motion_channels=5
)


@torch.inference_mode()
def test_convolutions_over_time_start_as_nothing(tiny_config):
    """So that a trained model can be given them, and goes on from where it was."""
    model = ReferFormer(replace(tiny_config("video_swin"), backbone=MOTION)).eval()
    without = ReferFormer(replace(model.config, backbone=replace(MOTION, motion_channels=0))).eval()
    without.load_state_dict({name: x for name, x in model.state_dict().items() if ".motion." not in name})
    frames = torch.randn(2, 3, 3, 45, 62)
    assert model(frames, WORDS).masks.equal(without(frames, WORDS).masks)


@torch.inference_mode()
def test_convolutions_over_time_tell_a_clip_from_its_reverse(tiny_config):
    """A frame that looks the same in both: only what comes before and after it differs."""
    stem = ReferFormer(replace(tiny_config("video_swin"), backbone=MOTION)).eval().backbone[0].body.motion
    torch.nn.init.normal_(stem.proj.weight)
    clip = torch.randn(1, 3, 5, 45, 62)
    there, back = stem(clip), stem(clip.flip(2)).flip(1)
    assert there.shape == (1, 5, 12, 16, 8)
    assert not torch.allclose(there[:, 2], back[:, 2], atol=1e-3)
