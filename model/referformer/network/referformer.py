"""ReferFormer: find the object that a sentence names in a clip (Wu et al., CVPR 2022).

Shapes: B clips, T frames, Q queries per frame, K classes, L words, C channels, H x W pixels of the model input,
h x w of the masks at the finest stride, N = B T frames in one row.

frames ─ backbone ─ projections ─┐                      ┌─ heads: class, box
                                 ├─ fusion ─ transformer ┤
words ── text encoder ───────────┘                      └─ pixel decoder ─ dynamic mask head: masks

What needs no sentence (`encode_video`) is apart from the rest (`decode`), so many sentences share it. Attribute
names are those of the published checkpoints.
"""

import copy
import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import ReferFormerConfig
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
    """All of B clips that does not depend on a sentence. Levels: strides 8, 16, 32, then halving further."""

    projected: list[Tensor]  # per level [N, C, h, w]
    positions: list[Tensor]  # per level [N, C, h, w]
    padding: list[Tensor] | None  # per level [N, h, w] bool, True on padding; None: nothing is padded
    finest: PixelTokens  # stride 4, tokens of B clips
    sizes: Tensor  # [B, 2] height and width of the frames without padding

    @property
    def clips(self) -> int:
        """B."""
        return len(self.sizes)

    def repeat(self, times: int) -> Self:
        """Each clip `times` times in a row, once for each of its sentences."""

        def again(x: Tensor) -> Tensor:
            return x.unflatten(0, (self.clips, -1)).repeat_interleave(times, 0).flatten(0, 1)

        tokens, position = again(self.finest.tokens), again(self.finest.position)
        return type(self)(
            projected=[again(x) for x in self.projected],
            positions=[again(x) for x in self.positions],
            padding=None if self.padding is None else [again(x) for x in self.padding],
            finest=PixelTokens(tokens=tokens, position=position, shape=self.finest.shape),
            sizes=again(self.sizes),
        )


@dataclass(frozen=True)
class Decoding:
    """Everything but the masks, per decoder layer where it is a list."""

    hidden: list[Tensor]  # [N, Q, C]
    logits: list[Tensor]  # [B, T, Q, K]
    boxes: list[Tensor]  # [B, T, Q, 4], cx, cy, w, h in 0..1
    start: Tensor  # [B, T, Q, 2], where the first layer's queries started
    pixels: Tensor  # [N, C, h, w], of which the pixel decoder's last convolution makes the features of masks
    sizes: Tensor  # [B, 2]

    def of(self, clip: int) -> Self:
        """That of one clip: B = 1."""
        length, alone = self.start.shape[1], slice(clip, clip + 1)
        rows = slice(clip * length, (clip + 1) * length)
        return type(self)(
            hidden=[x[rows] for x in self.hidden],
            logits=[x[alone] for x in self.logits],
            boxes=[x[alone] for x in self.boxes],
            start=self.start[alone],
            pixels=self.pixels[rows],
            sizes=self.sizes[alone],
        )


@dataclass(frozen=True)
class Prediction:
    """Of one decoder layer."""

    logits: Tensor  # [B, T, Q, K]: is this the object?
    boxes: Tensor  # [B, T, Q, 4], cx, cy, w, h in 0..1
    masks: Tensor  # [B, T, Q, h, w], logits


@dataclass(frozen=True)
class ReferFormerOutput(Prediction):
    """Of the last decoder layer, with the earlier ones beside it."""

    reference_points: Tensor  # [B, T, Q, 2], box centres that entered the last layer
    aux: list[Prediction]  # the earlier layers, first to last


class ReferFormer(nn.Module):
    """The whole model; see the module's docstring for the way of the data."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.frames_at_once: int | None = None  # where frames do not see each other; fewer take less memory, and longer
        dim = config.hidden_dim
        self.transformer = DeformableTransformer(config)
        self.class_embed = class_heads(config)
        self.bbox_embed = self.transformer.decoder.bbox_embed  # one tensor under two names, as published
        self.query_embed = nn.Embedding(config.queries, dim)
        self.input_proj = nn.ModuleList(_input_projections(config))
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

    def forward(
        self,
        frames: Tensor,
        words: TokenBatch,
        *,
        padding: Tensor | None = None,
        sizes: Tensor | None = None,
        valid_indices: Tensor | None = None,
    ) -> ReferFormerOutput:
        """frames [B, T, 3, H, W] normalised; `words` as `decode` takes sentences, the rest as in `encode_video`."""
        video = self.encode_video(frames, padding=padding, sizes=sizes, valid_indices=valid_indices)
        decoding = self.decode(video, self.encode_text(words))
        features = self.pixel_decoder.mask_features(decoding.pixels)
        masks = [self._masks(decoding, layer, features) for layer in range(self.config.decoder_layers)]
        *aux, last = (Prediction(*parts) for parts in zip(decoding.logits, decoding.boxes, masks, strict=True))
        centres = [decoding.start, *(box[..., :2].detach() for box in decoding.boxes)]
        return ReferFormerOutput(last.logits, last.boxes, last.masks, reference_points=centres[-2], aux=aux)

    def encode_video(
        self,
        frames: Tensor,
        *,
        padding: Tensor | None = None,
        sizes: Tensor | None = None,
        valid_indices: Tensor | None = None,
    ) -> VideoFeatures:
        """The share of the work that needs no sentence.

        frames [B, T, 3, H, W]; padding [B, T, H, W] bool, True on padding; sizes [B, 2] height and width without
        padding (read off the padding if absent); valid_indices [B]: the backbone sees all frames, everything
        behind it only this one of each clip, and T is 1 from there on. ValueError for frames too small for the
        pixel decoder and for a frame that is padding altogether (clips of unequal length).
        """
        clips, length = frames.shape[:2]
        _check_frames(frames, padding, smallest_side(self.config.backbone.stride))
        if sizes is None:
            sizes = _sizes(frames, padding)
        maps = self._backbone(frames)
        if valid_indices is not None:
            chosen = torch.arange(clips, device=frames.device) * length + valid_indices
            maps = [x[chosen] for x in maps]
            padding = None if padding is None else padding.flatten(0, 1)[chosen][:, None]
        finest, *coarser = maps
        projected = self._project(coarser)
        level_padding = None if padding is None else [level_mask(padding, x) for x in [finest, *projected]]
        positions = self._positions([finest, *projected], level_padding)
        tokens = self.pixel_decoder.mix_level(
            1, finest, positions[0], None if level_padding is None else level_padding[0], clips
        )
        return VideoFeatures(
            projected=projected,
            positions=positions[1:],
            padding=None if level_padding is None else level_padding[1:],
            finest=tokens,
            sizes=sizes,
        )

    def encode_text(self, words: TokenBatch) -> TextFeatures:
        """Sentences -> their words and sentence vector in the model's width."""
        return encode_text(self.text_encoder, self.resizer, words)

    def decode(self, video: VideoFeatures, text: TextFeatures) -> Decoding:
        """One sentence per clip, or the same number for each, those of the first clip first: B counts sentences."""
        per_clip, rest = divmod(len(text.sentence), video.clips)
        if rest:
            raise ValueError(f"{len(text.sentence)} sentences are not the same number for each of {video.clips} clips")
        if per_clip > 1:
            video = video.repeat(per_clip)
        clips, frames = video.clips, video.finest.shape[0]
        fused = [self._fuse(x, text) for x in video.projected]
        sentence = text.sentence.repeat_interleave(frames, dim=0)
        step = self.frames_at_once or len(sentence)
        levels = fused, video.positions, video.padding
        out = self.transformer.in_parts(step, *levels, sentence, query_position=self.query_embed.weight)
        pixels = self.pixel_decoder(video.finest, out.memory, video.positions, video.padding, text)

        def by_clip(x: Tensor) -> Tensor:
            return x.unflatten(0, (clips, frames))

        return Decoding(
            hidden=out.hidden,
            logits=[by_clip(head(x)) for head, x in zip(self.class_embed, out.hidden, strict=True)],
            boxes=[by_clip(box) for box in out.boxes],
            start=by_clip(out.start),
            pixels=pixels,
            sizes=video.sizes,
        )

    def masks(self, decoding: Decoding, layer: int = -1, query: int | None = None) -> Tensor:
        """Mask logits [B, T, Q, h, w] of one decoder layer; of one query only (Q = 1) if it is named."""
        convolution = self.pixel_decoder.mask_features
        if query is None:
            return self._masks(decoding, layer, convolution(decoding.pixels))
        chosen = slice(query, query + 1)
        parameters = self.controller(decoding.hidden[layer][:, chosen])
        centres = self._centres(decoding, decoding.boxes[layer][:, :, chosen])
        masks = self.mask_head.behind(convolution, decoding.pixels, parameters, centres.flatten(0, 1))
        return masks.unflatten(0, centres.shape[:2])

    def _masks(self, decoding: Decoding, layer: int, features: Tensor) -> Tensor:
        parameters = self.controller(decoding.hidden[layer])
        centres = self._centres(decoding, decoding.boxes[layer])
        masks = self.mask_head(features, parameters, centres.flatten(0, 1))
        return masks.unflatten(0, centres.shape[:2])

    def _centres(self, decoding: Decoding, boxes: Tensor) -> Tensor:
        """Centres [B, T, Q, 2] as the layer of these boxes refined them, in pixels of the unpadded input; masks do not
        train the box heads."""
        return boxes[..., :2].detach() * decoding.sizes.flip(-1)[:, None, None]

    def _backbone(self, frames: Tensor) -> list[Tensor]:
        """Maps [(B T), C, h, w] at strides 4 to 32; frames [B, T, 3, H, W]."""
        body = self.backbone.get_submodule("0.body")
        if self.frames_at_once is None or self.config.backbone.temporal:
            return body(frames)
        parts = [body(part[None]) for part in frames.flatten(0, 1).split(self.frames_at_once)]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def _project(self, maps: list[Tensor]) -> list[Tensor]:
        """Backbone maps -> one map per level; levels beyond the backbone's start from its raw last map."""
        projected = [project(x) for project, x in zip(self.input_proj, maps, strict=False)]
        for number, project in enumerate(self.input_proj[len(maps) :]):
            projected.append(project(maps[-1] if number == 0 else projected[-1]))
        return projected

    def _positions(self, maps: list[Tensor], padding: list[Tensor] | None) -> list[Tensor]:
        """[N, C, h, w] per level; without padding all frames share one."""
        dim = self.config.hidden_dim
        if padding is not None:
            return [pixel_position(mask, dim) for mask in padding]
        empty = [x.new_zeros(1, *x.shape[-2:], dtype=torch.bool) for x in maps]
        return [pixel_position(mask, dim).expand(len(x), -1, -1, -1) for mask, x in zip(empty, maps, strict=True)]

    def _fuse(self, maps: Tensor, text: TextFeatures) -> Tensor:
        clips = len(text.sentence)
        fused = self.fusion_module(clip_tokens(maps, clips), text)
        height, width = maps.shape[-2:]
        return frame_maps(fused, (len(maps) // clips, height, width))


def level_mask(padding: Tensor, level: Tensor) -> Tensor:
    """padding [B, T, H, W] at the size of a level's map [N, C, h, w]: nearest sampling -> [N, h, w] bool."""
    return F.interpolate(padding.flatten(0, 1)[None].float(), level.shape[-2:])[0].bool()


def class_heads(config: ReferFormerConfig) -> nn.ModuleList:
    """Fresh class heads, one for each decoder layer, all equal."""
    head = nn.Linear(config.hidden_dim, config.num_classes)
    nn.init.constant_(head.bias, -math.log(99))  # a prior of 0.01 (Lin et al., focal loss)
    return nn.ModuleList(copy.deepcopy(head) for _ in range(config.decoder_layers))


def _input_projections(config: ReferFormerConfig) -> list[nn.Sequential]:
    dim, channels = config.hidden_dim, list(config.backbone.channels[-BACKBONE_LEVELS:])
    convolutions = [nn.Conv2d(width, dim, 1) for width in channels]
    further = [channels[-1], *[dim] * config.levels][: config.levels - BACKBONE_LEVELS]
    convolutions += [nn.Conv2d(width, dim, 3, stride=2, padding=1) for width in further]
    init_xavier(*convolutions)
    return [nn.Sequential(convolution, nn.GroupNorm(config.projection_groups, dim)) for convolution in convolutions]


def _check_frames(frames: Tensor, padding: Tensor | None, smallest: int) -> None:
    height, width = frames.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(f"frames of {height} x {width} are too small: the model needs at least {smallest} a side")
    if padding is not None and padding.flatten(2).all(-1).any():
        raise ValueError("a frame is padding altogether: clips of unequal length cannot share a batch")


def _sizes(frames: Tensor, padding: Tensor | None) -> Tensor:
    """[B, 2] height and width without padding."""
    if padding is None:
        return torch.tensor(frames.shape[-2:], device=frames.device).expand(len(frames), -1)
    real = ~padding[:, 0]
    return torch.stack((real[:, :, 0].sum(-1), real[:, 0].sum(-1)), dim=-1)
