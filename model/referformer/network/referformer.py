"""ReferFormer: find the object that a sentence names in a clip (Wu et al., CVPR 2022).

Shapes: B clips, T frames, Q queries per frame, K classes, L words, C channels, H x W pixels of the model input,
h x w of the masks at the finest stride, N = B T frames in one row.

frames ─ backbone ─ projections ─┐                      ┌─ heads: class, box
                                 ├─ fusion ─ transformer ┤
words ── text encoder ───────────┘                      └─ pixel decoder ─ dynamic mask head: masks

`encode_video` does the work that needs no sentence, so many sentences share it; `decode` does the rest. Attribute names
are those of the published checkpoints.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import QualityConfig, ReferFormerConfig
from model.referformer.network.backbones import build_backbone
from model.referformer.network.deformable_transformer import DeformableTransformer
from model.referformer.network.fusion import VisionLanguageFusion
from model.referformer.network.mask_head import DynamicMaskHead
from model.referformer.network.mlp import MLP, init_xavier
from model.referformer.network.pixel_decoder import (
    CrossModalPixelDecoder,
    PixelTokens,
    clip_tokens,
    frame_maps,
    smallest_side,
)
from model.referformer.network.position_encoding import pixel_position
from model.referformer.network.quality_head import QualityHead, Rating
from model.referformer.network.roberta import Roberta
from model.referformer.network.text_encoder import (
    FeatureResizer,
    TextFeatures,
    TokenBatch,
    encode_text,
)

BACKBONE_LEVELS = 3  # maps of the backbone that enter the transformer; the finest serves the pixel decoder alone


@dataclass(frozen=True)
class VideoFeatures:
    """Features of B clips that do not depend on a sentence. Levels: strides 8, 16, 32, then halving further."""

    projected: list[Tensor]  # per level [N, C, h, w]
    positions: list[Tensor]  # per level [N, C, h, w]
    padding: list[Tensor] | None  # per level [N, h, w] bool, True on padding; None without padding
    finest: PixelTokens  # stride 4, tokens of B clips
    sizes: Tensor  # [B, 2] height and width of the frames without padding

    def repeat(self, times: int) -> Self:
        """Repeat each clip `times` times in a row, once for each of its sentences."""

        def repeated(x: Tensor) -> Tensor:
            return x.unflatten(0, (len(self.sizes), -1)).repeat_interleave(times, 0).flatten(0, 1)

        tokens, position = repeated(self.finest.tokens), repeated(self.finest.position)
        return type(self)(
            projected=[repeated(x) for x in self.projected],
            positions=[repeated(x) for x in self.positions],
            padding=None if self.padding is None else [repeated(x) for x in self.padding],
            finest=PixelTokens(tokens=tokens, position=position, shape=self.finest.shape),
            sizes=repeated(self.sizes),
        )


@dataclass(frozen=True)
class Decoding:
    """Everything but the masks; lists have one entry per decoder layer."""

    hidden: list[Tensor]  # [N, Q, C]
    logits: list[Tensor]  # [B, T, Q, K]
    boxes: list[Tensor]  # [B, T, Q, 4], cx, cy, w, h in 0..1
    start: Tensor  # [B, T, Q, 2], reference points of the first layer
    pixels: Tensor  # [N, C, h, w], input of the pixel decoder's last convolution, which makes the mask features
    sizes: Tensor  # [B, 2]
    sentence: Tensor  # [B, C]

    def of(self, clip: int) -> Self:
        """Select one clip: B = 1."""
        length, alone = self.start.shape[1], slice(clip, clip + 1)
        rows = slice(clip * length, (clip + 1) * length)
        return type(self)(
            hidden=[x[rows] for x in self.hidden],
            logits=[x[alone] for x in self.logits],
            boxes=[x[alone] for x in self.boxes],
            start=self.start[alone],
            pixels=self.pixels[rows],
            sizes=self.sizes[alone],
            sentence=self.sentence[alone],
        )


@dataclass(frozen=True)
class Prediction:
    """Output of one decoder layer."""

    logits: Tensor  # [B, T, Q, K]: is this the object?
    boxes: Tensor  # [B, T, Q, 4], cx, cy, w, h in 0..1
    masks: Tensor  # [B, T, Q, h, w], logits


@dataclass(frozen=True)
class ReferFormerOutput(Prediction):
    """Output of the last decoder layer, with those of the earlier ones."""

    reference_points: Tensor  # [B, T, Q, 2], box centres that entered the last layer
    aux: list[Prediction]  # the earlier layers, first to last
    rating: Rating | None = None  # of the masks of `query`; None without a quality head
    query: Tensor | None = None  # [B], the query of the highest score


class ReferFormer(nn.Module):
    """The whole model; the module's docstring shows the data flow."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.frames_at_once: int | None = None  # in parts where frames do not see each other; saves memory, takes time
        dim = config.hidden_dim
        self.transformer = DeformableTransformer(config)
        self.class_embed = class_heads(config)
        self.bbox_embed = self.transformer.decoder.bbox_embed  # one tensor under two names, as published
        self.query_embed = nn.Embedding(config.queries, dim)
        channels = config.backbone.channels[-BACKBONE_LEVELS:]
        projections = [nn.Conv2d(width, dim, 1) for width in channels]
        for width in [channels[-1], *[dim] * config.levels][: config.levels - BACKBONE_LEVELS]:
            projections.append(nn.Conv2d(width, dim, 3, stride=2, padding=1))
        init_xavier(*projections)
        self.input_proj = nn.ModuleList(
            nn.Sequential(convolution, nn.GroupNorm(config.projection_groups, dim)) for convolution in projections
        )
        self.backbone = nn.ModuleList([nn.ModuleDict({"body": build_backbone(config.backbone)})])
        self.text_encoder = Roberta(config.text)
        self.resizer = FeatureResizer(config.text.hidden_size, dim, config.dropout)
        self.fusion_module = VisionLanguageFusion(dim, config.heads)
        self.pixel_decoder = CrossModalPixelDecoder(config)
        self.mask_head = DynamicMaskHead(
            config.mask_dim, config.mask_channels, config.mask_layers, config.backbone.stride
        )
        self.controller = MLP(dim, dim, self.mask_head.num_parameters, 3)
        init_xavier(*(layer for layer in self.controller.modules() if isinstance(layer, nn.Linear)))
        self.quality_head = config.quality and QualityHead(dim, config.quality.hidden_dim)

    def forward(
        self,
        frames: Tensor,
        words: TokenBatch,
        *,
        padding: Tensor | None = None,
        sizes: Tensor | None = None,
        valid_indices: Tensor | None = None,
    ) -> ReferFormerOutput:
        """frames [B, T, 3, H, W] normalised; `words` as the sentences of `decode`, the rest as in `encode_video`."""
        video = self.encode_video(frames, padding=padding, sizes=sizes, valid_indices=valid_indices)
        decoding = self.decode(video, self.encode_text(words))
        features = self.pixel_decoder.mask_features(decoding.pixels)
        masks = [self.masks(decoding, layer, features=features) for layer in range(self.config.decoder_layers)]
        *aux, last = (Prediction(*parts) for parts in zip(decoding.logits, decoding.boxes, masks, strict=True))
        centres = [decoding.start, *(box[..., :2].detach() for box in decoding.boxes)]
        query = last.logits.detach().sigmoid().mean(1).amax(-1).argmax(-1)
        rating = self.rate(decoding, last.masks[torch.arange(len(query), device=query.device), :, query])
        return ReferFormerOutput(last.logits, last.boxes, last.masks, centres[-2], aux, rating, query)

    def encode_video(
        self,
        frames: Tensor,
        *,
        padding: Tensor | None = None,
        sizes: Tensor | None = None,
        valid_indices: Tensor | None = None,
    ) -> VideoFeatures:
        """Compute the features that need no sentence.

        frames [B, T, 3, H, W]; padding [B, T, H, W] bool, True on padding; sizes [B, 2] height and width without
        padding, read off the padding if None; valid_indices [B]: only the backbone sees all frames, everything after it
        this one frame of each clip, so T becomes 1.

        Raises ValueError for frames too small for the pixel decoder and for a frame that is all padding (clips of
        unequal length).
        """
        (clips, length, _, height, width), smallest = frames.shape, smallest_side(self.config.backbone.stride)
        if min(height, width) < smallest:
            raise ValueError(f"frames of {height} x {width} are too small: the model needs at least {smallest} a side")
        if padding is not None and padding.flatten(2).all(-1).any():
            raise ValueError("a frame is all padding: clips of unequal length cannot share a batch")
        if sizes is None:
            sizes = torch.tensor((height, width), device=frames.device).expand(clips, -1)
            if padding is not None:
                real = ~padding[:, 0]
                sizes = torch.stack((real[:, :, 0].sum(-1), real[:, 0].sum(-1)), dim=-1)
        maps = self._backbone(frames)
        if valid_indices is not None:
            chosen = torch.arange(clips, device=frames.device) * length + valid_indices
            maps = [x[chosen] for x in maps]
            padding = None if padding is None else padding.flatten(0, 1)[chosen][:, None]
        finest, *coarser = maps
        projected = [project(x) for project, x in zip(self.input_proj, coarser, strict=False)]
        last = coarser[-1]  # further levels start from the backbone's last map as it is
        for project in self.input_proj[len(coarser) :]:
            last = project(last)
            projected.append(last)
        levels = [finest, *projected]
        if padding is None:  # all frames share one position
            masks = [x.new_zeros(1, *x.shape[-2:], dtype=torch.bool) for x in levels]
        else:
            masks = [level_mask(padding, x) for x in levels]
        positions = [
            pixel_position(mask, self.config.hidden_dim).expand(len(x), -1, -1, -1)
            for mask, x in zip(masks, levels, strict=True)
        ]
        finest_padding, further = (None, None) if padding is None else (masks[0], masks[1:])
        tokens = self.pixel_decoder.mix_level(1, finest, positions[0], finest_padding, clips)
        return VideoFeatures(projected, positions[1:], further, tokens, sizes)

    def encode_text(self, words: TokenBatch) -> TextFeatures:
        """Encode sentences into word and sentence vectors of the model's width."""
        return encode_text(self.text_encoder, self.resizer, words)

    def decode(self, video: VideoFeatures, text: TextFeatures) -> Decoding:
        """Find the objects of one sentence per clip, or of several, the same number for each; B counts sentences.

        Sentences are in the order of the clips.
        """
        per_clip, rest = divmod(len(text.sentence), len(video.sizes))
        if rest:
            raise ValueError(
                f"{len(text.sentence)} sentences are not the same number for each of {len(video.sizes)} clips"
            )
        if per_clip > 1:
            video = video.repeat(per_clip)
        clips, frames = len(video.sizes), video.finest.shape[0]
        fused = []
        for x in video.projected:
            tokens = self.fusion_module(clip_tokens(x, clips), text)
            fused.append(frame_maps(tokens, (frames, x.shape[-2], x.shape[-1])))
        sentence = text.sentence.repeat_interleave(frames, dim=0)
        step = self.frames_at_once or len(sentence)
        levels = fused, video.positions, video.padding
        out = self.transformer.in_steps(step, *levels, sentence, query_position=self.query_embed.weight)
        pixels = self.pixel_decoder(video.finest, out.memory, video.positions, video.padding, text)
        by_clip = (clips, frames)
        return Decoding(
            hidden=out.hidden,
            logits=[head(x).unflatten(0, by_clip) for head, x in zip(self.class_embed, out.hidden, strict=True)],
            boxes=[box.unflatten(0, by_clip) for box in out.boxes],
            start=out.start.unflatten(0, by_clip),
            pixels=pixels,
            sizes=video.sizes,
            sentence=text.sentence,
        )

    def masks(
        self, decoding: Decoding, layer: int = -1, query: int | None = None, features: Tensor | None = None
    ) -> Tensor:
        """Return the mask logits [B, T, Q, h, w] of one decoder layer, of all queries or of one (Q = 1).

        features: mask features of `decoding.pixels`, if they are known; unused for one query.
        """
        convolution = self.pixel_decoder.mask_features
        chosen = slice(None) if query is None else slice(query, query + 1)
        parameters = self.controller(decoding.hidden[layer][:, chosen])
        # Centres in pixels of the unpadded input. Detached: masks do not train the box heads.
        centres = decoding.boxes[layer][:, :, chosen, :2].detach() * decoding.sizes.flip(-1)[:, None, None]
        if query is not None:
            masks = self.mask_head.forward_fused(convolution, decoding.pixels, parameters, centres.flatten(0, 1))
        else:
            features = convolution(decoding.pixels) if features is None else features
            masks = self.mask_head(features, parameters, centres.flatten(0, 1))
        return masks.unflatten(0, centres.shape[:2])

    def rate(self, decoding: Decoding, masks: Tensor) -> Rating | None:
        """Predict how good one query's masks are, logits [B, T, h, w]; None without a quality head."""
        return None if self.quality_head is None else self.quality_head(decoding.sentence, decoding.pixels, masks)

    def _backbone(self, frames: Tensor) -> list[Tensor]:
        """frames [B, T, 3, H, W] -> maps [(B T), C, h, w] at strides 4 to 32."""
        body = self.backbone.get_submodule("0.body")
        if self.frames_at_once is None or self.config.backbone.temporal:
            return body(frames)
        parts = [body(part[None]) for part in frames.flatten(0, 1).split(self.frames_at_once)]
        return [torch.cat(level) for level in zip(*parts, strict=True)]


def level_mask(padding: Tensor, level: Tensor) -> Tensor:
    """Resize padding [B, T, H, W] to the map [N, C, h, w] of a level by nearest sampling -> [N, h, w] bool."""
    return F.interpolate(padding.flatten(0, 1)[None].float(), level.shape[-2:])[0].bool()


def with_quality_head(model: ReferFormer, config: QualityConfig) -> ReferFormer:
    """Return a model with the weights of `model` and a fresh quality head."""
    fresh = ReferFormer(replace(model.config, quality=config))
    fresh.load_state_dict(model.state_dict(), strict=False)
    return fresh


def class_heads(config: ReferFormerConfig) -> nn.ModuleList:
    """Build fresh class heads, one for each decoder layer, all equal."""
    head = nn.Linear(config.hidden_dim, config.num_classes)
    nn.init.constant_(head.bias, -math.log(99))  # a prior of 0.01 (Lin et al., focal loss)
    return nn.ModuleList(copy.deepcopy(head) for _ in range(config.decoder_layers))
