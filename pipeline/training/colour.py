"""Colour changes: of single frames (Liu et al. 2016, SSD: brightness, contrast, saturation, hue, channel order), and
of whole clips.

The published code reads RGB as BGR when it converts to hue and saturation, and converts values to integers without
clipping, so that 300 becomes 44 and bright areas show dark specks. `published` reproduces both.
"""

import re
from dataclasses import dataclass
from itertools import permutations

import numpy as np

ORDERS = tuple(permutations(range(3)))
GREY = 127.5
COLOUR = re.compile(
    r"\b(?:amber|aqua|beige|black|blonde?|blue|bluish|bronze|brown|brunette|colou?r(?:ed|less|s)?|cream|crimson|cyan"
    r"|gold(?:en)?|gr[ae]y|green|indigo|ivory|khaki|lavender|lilac|magenta|maroon|mauve|navy|olive|orange|pale|peach|pink"
    r"|purple|purplish|redd?|rose|scarlet|silver|tan|teal|turquoise|violet|white|whitish|yellow|dark|bright|light)"
    r"(?:ish|er|est|y)?\b",
    re.IGNORECASE,
)
BRIGHTNESS, CONTRAST, SATURATION, HUE = (-32.0, 32.0), (0.5, 1.5), (0.5, 1.5), (-18.0, 18.0)


@dataclass(frozen=True, kw_only=True)
class ColourChange:
    """The random choices for one frame; None: skip this step."""

    brightness: float | None = None  # added, in grey levels
    contrast: float | None = None  # factor
    saturation: float | None = None  # factor
    hue: float | None = None  # degrees, added
    channels: tuple[int, int, int] | None = None  # new order
    contrast_first: bool = True  # before saturation and hue, or after

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "ColourChange":
        """Choose each step with probability one half."""

        def maybe(limits: tuple[float, float]) -> float | None:
            value, used = rng.uniform(*limits), rng.random() < 0.5
            return value if used else None

        order = ORDERS[rng.integers(len(ORDERS))]
        return cls(
            brightness=maybe(BRIGHTNESS),
            contrast=maybe(CONTRAST),
            saturation=maybe(SATURATION),
            hue=maybe(HUE),
            channels=(order[0], order[1], order[2]) if rng.random() < 0.5 else None,
            contrast_first=bool(rng.random() < 0.5),
        )

    def apply(self, frame: np.ndarray, *, published: bool = False) -> np.ndarray:
        """Return a changed copy of a frame, uint8 [H, W, 3] RGB."""
        x = frame.astype(np.float32)
        if self.brightness is not None:
            x += np.float32(self.brightness)
        if self.contrast is not None and self.contrast_first:
            x *= np.float32(self.contrast)
        if published or self.saturation is not None or self.hue is not None:
            x = self._shift_hue(x[..., ::-1])[..., ::-1] if published else self._shift_hue(x.clip(0, 255))
        if self.contrast is not None and not self.contrast_first:
            x = x * np.float32(self.contrast)
        if self.channels is not None:
            x = x[..., self.channels]
        if published:
            return x.astype(np.int32).astype(np.uint8)  # int32 first, to take the remainder modulo 256
        return x.round().clip(0, 255).astype(np.uint8)

    def _shift_hue(self, rgb: np.ndarray) -> np.ndarray:
        """Change hue and saturation of float32 [H, W, 3] by way of hue (degrees), saturation (share) and value."""
        value = rgb.max(-1)
        spread = value - rgb.min(-1)
        r, g, b = np.moveaxis(rgb, -1, 0)
        slope = 60 / (spread + np.finfo(np.float32).eps)
        hue = np.where(value == r, (g - b) * slope, np.where(value == g, 120 + (b - r) * slope, 240 + (r - g) * slope))
        hue = hue % 360
        saturation = spread / (np.abs(value) + np.finfo(np.float32).eps)
        if self.saturation is not None:
            saturation = saturation * np.float32(self.saturation)
        if self.hue is not None:
            hue = (hue + np.float32(self.hue)) % 360
        channels = []
        for offset in (5, 3, 1):
            k = (offset + hue / 60) % 6
            channels.append(value - value * saturation * np.minimum(k, 4 - k).clip(0, 1))
        return np.stack(channels, axis=-1).astype(np.float32)


def names_colour(sentence: str) -> bool:
    """Return True if the sentence has an English word for a colour or a tone, so that other colours may falsify it."""
    return bool(COLOUR.search(sentence))


def other_colours(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn the colours of all frames about grey by the same random rotation or reflection; uint8 [T, H, W, 3].

    Distances between colours and from grey are kept, except for values clipped at 0 and 255.
    """
    turn, triangle = np.linalg.qr(rng.standard_normal((3, 3)))
    turn = (turn * np.sign(np.diag(triangle))).astype(np.float32)  # all turns are equally likely (Mezzadri 2007)
    turned = (frames - np.float32(GREY)) @ turn + np.float32(GREY)
    return turned.round().clip(0, 255).astype(np.uint8)
