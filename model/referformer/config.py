"""Sizes of a ReferFormer: nine published ones, and any other.

A config is plain numbers. It is frozen, survives JSON unchanged, and checks itself when it is built, so a model
that can be configured can be run.
"""

from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Bottleneck ResNet; stage i has 4 * widths[i] output channels at stride 4 * 2**i."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)

    def __post_init__(self) -> None:
        _require_positive(self)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps."""
        return tuple(4 * width for width in self.widths)

    @property
    def stride(self) -> int:
        """Stride of the finest feature map; each further one doubles it."""
        return 4


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """Swin transformer on single frames; stage i has embed_dim * 2**i channels at stride patch * 2**i."""

    embed_dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7
    patch: int = 4
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        _check_swin(self)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps."""
        return tuple(self.embed_dim * 2**stage for stage in range(4))

    @property
    def stride(self) -> int:
        """Stride of the finest feature map; each further one doubles it."""
        return self.patch


@dataclass(frozen=True, kw_only=True)
class VideoSwinConfig:
    """Video-Swin transformer: as Swin, with windows over (time, height, width)."""

    embed_dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: tuple[int, int, int] = (8, 7, 7)
    patch: int = 4
    drop_path: float = 0.2
    motion_channels: int = 0  # of the convolutions over time beside the patches; 0: there are none, as published

    def __post_init__(self) -> None:
        _check_swin(self)
        if self.motion_channels and self.patch != 4:
            raise ValueError(
                f"motion_channels need a patch of 4, which is the stride of the convolutions; got {self.patch}"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps."""
        return tuple(self.embed_dim * 2**stage for stage in range(4))

    @property
    def stride(self) -> int:
        """Stride of the finest feature map; each further one doubles it."""
        return self.patch


BACKBONE_TYPES = {"resnet": ResNetConfig, "swin": SwinConfig, "video_swin": VideoSwinConfig}


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
        _require_positive(self)
        _require_divisible(self, "hidden_size", self.hidden_size, "heads", self.heads)

    @property
    def max_tokens(self) -> int:
        """Longest sentence in tokens, start and end included."""
        return self.max_positions - 2


@dataclass(frozen=True, kw_only=True)
class ReferFormerConfig:
    """The whole model; the defaults are the published sizes, with ResNet-50."""

    backbone: ResNetConfig | SwinConfig | VideoSwinConfig = field(default_factory=ResNetConfig)
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

    def __post_init__(self) -> None:
        _require_positive(self)
        _require_divisible(self, "hidden_dim", self.hidden_dim, "heads", self.heads)
        _require_divisible(self, "hidden_dim", self.hidden_dim, "projection_groups", self.projection_groups)
        _require_divisible(self, "hidden_dim", self.hidden_dim, "pixel_groups", self.pixel_groups)
        if self.hidden_dim % 4:
            raise ValueError(f"hidden_dim must be a multiple of 4 (sine and cosine of x and y), got {self.hidden_dim}")
        if self.levels < 3:
            raise ValueError(f"levels must be at least 3, the backbone's own, got {self.levels}")
        if self.mask_layers < 2:
            raise ValueError(f"mask_layers must be at least 2, got {self.mask_layers}")

    @classmethod
    def published(cls, name: str) -> Self:
        """Config of a published checkpoint; `name` is one of PUBLISHED. ValueError for any other."""
        if name not in PUBLISHED:
            raise ValueError(f"unknown backbone {name!r}; published ones: {', '.join(PUBLISHED)}")
        return cls(backbone=PUBLISHED[name])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the backbone carries its kind under "type"."""
        kind = next(kind for kind, cls in BACKBONE_TYPES.items() if type(self.backbone) is cls)
        return _listed(asdict(self) | {"backbone": {"type": kind} | asdict(self.backbone)})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of to_dict; ValueError names an unknown key or a value of the wrong type."""
        return _build(cls, values, "config")


def _require_positive(config: Any) -> None:
    """Every integer at least 1, or 0 if that is its default; every fraction (dropout, drop path) in [0, 1)."""
    for item in fields(config):
        value = getattr(config, item.name)
        least = 0 if item.default == 0 else 1
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not 0 <= number < 1:
                raise ValueError(f"{item.name} must lie in [0, 1), got {number}")
            if isinstance(number, int) and number < least:
                raise ValueError(f"{item.name} must be at least {least}, got {number}")


def _require_divisible(config: Any, name: str, value: int, by_name: str, by: int) -> None:
    if value % by:
        raise ValueError(f"{type(config).__name__}: {name} {value} is not a multiple of {by_name} {by}")


def _check_swin(config: SwinConfig | VideoSwinConfig) -> None:
    _require_positive(config)
    for channels, heads in zip(config.channels, config.heads, strict=True):
        _require_divisible(config, "channels", channels, "heads", heads)


def _swin(embed_dim: int, first_heads: int, third_depth: int, drop_path: float = 0.2) -> dict[str, Any]:
    heads = tuple(first_heads * 2**stage for stage in range(4))
    return {
        "embed_dim": embed_dim,
        "depths": (2, 2, third_depth, 2),
        "heads": heads,
        "drop_path": drop_path,
    }


PUBLISHED: dict[str, ResNetConfig | SwinConfig | VideoSwinConfig] = {
    "resnet50": ResNetConfig(),
    "resnet101": ResNetConfig(depths=(3, 4, 23, 3)),
    "swin_t_p4w7": SwinConfig(**_swin(96, 3, 6)),
    "swin_s_p4w7": SwinConfig(**_swin(96, 3, 18)),
    "swin_b_p4w7": SwinConfig(**_swin(128, 4, 18, drop_path=0.3)),
    "swin_l_p4w7": SwinConfig(**_swin(192, 6, 18, drop_path=0.3)),
    "video_swin_t_p4w7": VideoSwinConfig(**_swin(96, 3, 6)),
    "video_swin_s_p4w7": VideoSwinConfig(**_swin(96, 3, 18)),
    "video_swin_b_p4w7": VideoSwinConfig(**_swin(128, 4, 18)),
}


def _listed(value: Any) -> Any:
    """Tuples as lists, all the way down: what JSON would make of them."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _build(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be an object, got {values!r}")
    known = {item.name: item for item in fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    hints = get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, UnionType):
        if not isinstance(value, dict) or value.get("type") not in BACKBONE_TYPES:
            raise ValueError(f'{where} must be an object whose "type" is one of {", ".join(BACKBONE_TYPES)}')
        rest = {key: item for key, item in value.items() if key != "type"}
        return _build(BACKBONE_TYPES[value["type"]], rest, where)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise ValueError(f"{where} must be a list of {len(kinds)} numbers, got {value!r}")
        return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if hint in (int, float):
        if type(value) is not hint:
            raise ValueError(f"{where} must be {'an integer' if hint is int else 'a number'}, got {value!r}")
        return value
    return _build(hint, value, where)
