"""Sizes of a ReferFormer: nine published ones, and any other.

A config is plain numbers. It is frozen, survives JSON unchanged and checks itself when it is built, so every config
can be run. This file needs no torch.
"""

from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from model.referformer.checks import require_divisible, require_positive
from model.referformer.network.backbones import BACKBONES, BackboneConfig, backbone_class


def _swin(embed_dim: int, first_heads: int, third_depth: int, drop_path: float = 0.2) -> dict[str, Any]:
    heads = tuple(first_heads * 2**stage for stage in range(4))
    return {"embed_dim": embed_dim, "depths": (2, 2, third_depth, 2), "heads": heads, "drop_path": drop_path}


# Name of a published checkpoint's backbone -> its type and sizes.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet50": ("resnet", {}),
    "resnet101": ("resnet", {"depths": (3, 4, 23, 3)}),
    "swin_t_p4w7": ("swin", _swin(96, 3, 6)),
    "swin_s_p4w7": ("swin", _swin(96, 3, 18)),
    "swin_b_p4w7": ("swin", _swin(128, 4, 18, drop_path=0.3)),
    "swin_l_p4w7": ("swin", _swin(192, 6, 18, drop_path=0.3)),
    "video_swin_t_p4w7": ("video_swin", _swin(96, 3, 6)),
    "video_swin_s_p4w7": ("video_swin", _swin(96, 3, 18)),
    "video_swin_b_p4w7": ("video_swin", _swin(128, 4, 18)),
}

KINDS = {int: "an integer", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """RoBERTa; the defaults are roberta-base. Ids 0, 1, 2 are start, padding and end in every vocabulary."""

    vocab_size: int = 50265
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    intermediate_size: int = 3072
    max_positions: int = 514  # two more than the longest sentence: positions count from 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_positive(self)
        require_divisible(self, "hidden_size", self.hidden_size, "heads", self.heads)

    @property
    def max_tokens(self) -> int:
        """Longest sentence in tokens, start and end included."""
        return self.max_positions - 2


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """A head that predicts if a sentence means something, and how good its masks are. Published ones have none."""

    hidden_dim: int = 128
    no_target_below: float = 0.0  # predicted presence below which a sentence is taken to mean nothing

    def __post_init__(self) -> None:
        require_positive(self)


@dataclass(frozen=True, kw_only=True)
class ReferFormerConfig:
    """The whole model; the defaults are the published sizes, with ResNet-50."""

    backbone: BackboneConfig = field(default_factory=lambda: backbone_class("resnet").config_type())
    text: TextConfig = field(default_factory=TextConfig)
    hidden_dim: int = 256
    heads: int = 8
    feedforward_dim: int = 2048
    encoder_layers: int = 4
    decoder_layers: int = 4
    encoder_points: int = 4
    decoder_points: int = 4
    levels: int = 4  # three of the backbone (strides 8, 16, 32), the rest by strided convolution
    queries: int = 5
    num_classes: int = 1
    mask_dim: int = 256  # channels of the mask features
    mask_channels: int = 8  # channels inside the dynamic convolution
    mask_layers: int = 3  # 1 x 1 layers of the dynamic convolution
    projection_groups: int = 32  # group norm after the input projections
    pixel_groups: int = 8  # group norm in the pixel decoder
    dropout: float = 0.1
    quality: QualityConfig | None = None
    mask_boxes: bool = False  # answer with boxes around the largest pieces of the masks, not with those of the heads

    def __post_init__(self) -> None:
        require_positive(self)
        for name in ("heads", "projection_groups", "pixel_groups"):
            require_divisible(self, "hidden_dim", self.hidden_dim, name, getattr(self, name))
        if self.hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4 (sine and cosine of x and y), got {self.hidden_dim}")
        if self.levels < 3:
            raise ValueError(f"levels must be at least 3, those of the backbone, got {self.levels}")
        if self.mask_layers < 2:
            raise ValueError(f"mask_layers must be at least 2, got {self.mask_layers}")

    @classmethod
    def published(cls, name: str) -> Self:
        """Return the config of a published checkpoint, a key of PUBLISHED. Raises ValueError for any other name."""
        if name not in PUBLISHED:
            raise ValueError(f"unknown backbone {name!r}; choose from {', '.join(PUBLISHED)}")
        kind, sizes = PUBLISHED[name]
        return cls(backbone=backbone_class(kind).config_type(**sizes))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; the backbone has its kind under "type". What published models lack has no key."""
        values = {name: value for name, value in asdict(self).items() if value is not None and value is not False}  # pyright: ignore[reportArgumentType]
        return _as_json(values | {"backbone": {"type": self.backbone.kind} | values["backbone"]})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a config from the values of `to_dict`. Raises ValueError for an unknown key or a wrong type."""
        return _build(cls, values, "config")


def _as_json(value: Any) -> Any:
    """Turn tuples into lists, all the way down."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def _build(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be an object, got {values!r}")
    known = {item.name: item for item in fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    hints = get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is BackboneConfig:
        if not isinstance(value, dict) or value.get("type") not in [*BACKBONES]:
            raise ValueError(f'{where} must be an object whose "type" is one of {", ".join(BACKBONES)}')
        rest = {key: item for key, item in value.items() if key != "type"}
        return _build(backbone_class(value["type"]).config_type, rest, where)
    if isinstance(hint, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise ValueError(f"{where} must be a list of {len(kinds)} numbers, got {value!r}")
        return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if hint in KINDS:
        if type(value) is not hint:
            raise ValueError(f"{where} must be {KINDS[hint]}, got {value!r}")
        return value
    return _build(hint, value, where)
