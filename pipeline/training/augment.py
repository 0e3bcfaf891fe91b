"""Random augmentation of training clips: flip (also in the sentence), colours, resize and crop.

`published` reproduces defects of the published code, which are corrected by default: "left" and "right" swapped inside
words too, boxes one pixel too small and moved with the crop instead of taken from the cropped mask, colours as in
`pipeline.training.colour`.
"""

import re
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from model.referformer.inference.preprocess import resized_size
from pipeline.training.colour import ColourChange, names_colour, other_colours
from schemas.rle import MAX_SIDE

SIDE = re.compile(r"(?<![a-z])(left|right)(?=(?:most|wards?|hand|side)?(?![a-z]))", re.IGNORECASE)
OPPOSITE = {"left": "right", "right": "left"}


@dataclass(frozen=True, kw_only=True)
class TrainingClip:
    """T frames, the referred object in them and the sentence."""

    frames: np.ndarray  # uint8 [T, H, W, 3] RGB
    masks: np.ndarray  # bool [T, H, W]
    boxes: np.ndarray  # float64 [T, 4], x1, y1, x2, y2 in pixels
    present: np.ndarray  # bool [T]
    sentence: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.masks.shape[1], self.masks.shape[2]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Probabilities and sizes. The defaults are the published ones for video.

    Half of the clips are resized, the others resized, cropped and resized again. With one number in `sizes` and
    `crop = 0` the shorter side of every clip is the same.
    """

    flip: float = 0.5  # probability
    colour: bool = True  # change the colours of each frame separately
    other_colours: float = 0.0  # probability of rotating all colours of a clip whose sentence names no colour
    sizes: tuple[int, ...] = (288, 320, 352, 392, 416, 448, 480, 512)  # of the shorter side
    max_size: int = 640  # of the longer side
    crop: float = 0.5  # probability
    crop_from: tuple[int, ...] = (400, 500, 600)  # shorter side before the crop
    crop_sides: tuple[int, int] = (384, 600)  # smallest and largest side of the crop
    crop_sizes: tuple[int, ...] = ()  # shorter side after the crop; empty: as `sizes`
    crop_max_size: int = 640  # longer side after the crop
    published: bool = False  # reproduce the defects of the published code

    def __post_init__(self) -> None:
        for name in ("flip", "other_colours", "crop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name} is a probability, 0 to 1, got {getattr(self, name)}")
        for name in ("sizes", "max_size", "crop_from", "crop_sides", "crop_sizes", "crop_max_size"):
            value = getattr(self, name)
            if not all(1 <= side <= MAX_SIDE for side in (value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"augmentation.{name} must be 1 to {MAX_SIDE} pixels, got {value}")
        if not self.sizes or not self.crop_from or len(self.crop_sides) != 2:
            raise ValueError("augmentation needs at least one of sizes and of crop_from, and two crop_sides")
        if self.crop_sides[0] > self.crop_sides[1]:
            raise ValueError(f"augmentation.crop_sides must be the smallest and the largest, got {self.crop_sides}")
        for name, most in (("sizes", self.max_size), ("crop_sizes", self.crop_max_size)):
            if (largest := max(getattr(self, name), default=0)) > most:
                raise ValueError(f"augmentation.{name} has {largest}, and the longer side may only have {most}")

    def apply(self, clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
        """Return an augmented copy. If the crop removes the object, the clip is only resized."""
        if rng.random() < self.flip:
            clip = flip(clip, published=self.published)
        if self.colour:
            changed = [ColourChange.draw(rng).apply(frame, published=self.published) for frame in clip.frames]
            clip = replace(clip, frames=np.stack(changed))
        if self.other_colours and not names_colour(clip.sentence) and rng.random() < self.other_colours:
            clip = replace(clip, frames=other_colours(clip.frames, rng))
        if rng.random() < self.crop:
            larger = resize_clip(clip, int(rng.choice(self.crop_from)), None)
            smallest, largest = self.crop_sides
            height, width = (int(rng.integers(min(smallest, side), min(largest, side) + 1)) for side in larger.size)
            top = int(rng.integers(larger.size[0] - height + 1))
            left = int(rng.integers(larger.size[1] - width + 1))
            short_side = int(rng.choice(self.crop_sizes or self.sizes))
            cropped = resize_clip(crop(larger, top, left, height, width), short_side, self.crop_max_size)
            cropped = settle(cropped, published=self.published)
            if cropped.present.any():
                return cropped
        resized = resize_clip(clip, int(rng.choice(self.sizes)), self.max_size)
        return settle(resized, published=self.published)


def flip(clip: TrainingClip, *, published: bool = False) -> TrainingClip:
    """Mirror the frames, and swap left and right in the sentence."""
    x1, y1, x2, y2 = clip.boxes.T
    width = clip.size[1]
    sentence = swap_sides(clip.sentence)
    if published:
        sentence = clip.sentence.replace("left", "@").replace("right", "left").replace("@", "right")
    return replace(
        clip,
        frames=clip.frames[:, :, ::-1],
        masks=clip.masks[:, :, ::-1],
        boxes=np.stack((width - x2, y1, width - x1, y2), axis=1),
        sentence=sentence,
    )


def swap_sides(sentence: str) -> str:
    """Swap the words left and right, also in leftmost, left-hand, leftwards; not in bright or upright."""

    def opposite(found: re.Match[str]) -> str:
        word = OPPOSITE[found[0].lower()]
        return word.upper() if found[0].isupper() else word.capitalize() if found[0][0].isupper() else word

    return SIDE.sub(opposite, sentence)


def resize_clip(clip: TrainingClip, short_side: int, max_size: int | None) -> TrainingClip:
    """Resize by the published rule: frames with Pillow's bilinear filter, masks by nearest pixel."""
    height, width = clip.size
    new_height, new_width = resized_size(height, width, short_side, max_size)
    resample = Image.Resampling.BILINEAR
    frames = [np.asarray(Image.fromarray(x).resize((new_width, new_height), resample)) for x in clip.frames]
    rows, columns = (  # in single precision as published, which decides some rows
        np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.int64).clip(max=old - 1)
        for old, new in ((height, new_height), (width, new_width))
    )
    masks = clip.masks[:, rows][:, :, columns]
    scale = np.array((new_width / width, new_height / height) * 2)
    return replace(clip, frames=np.stack(frames), masks=masks, boxes=clip.boxes * scale)


def crop(clip: TrainingClip, top: int, left: int, height: int, width: int) -> TrainingClip:
    """Cut the rectangle that starts at `top`, `left` out of each frame."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    moved = clip.boxes - np.array((left, top) * 2)
    return replace(
        clip,
        frames=clip.frames[:, rows, columns],
        masks=clip.masks[:, rows, columns],
        boxes=moved.clip(0, np.array((width, height) * 2)),
    )


def settle(clip: TrainingClip, *, published: bool = False) -> TrainingClip:
    """Set `present` and `boxes` after all other changes: the tight boxes of the masks.

    Published: keep the boxes, and set an object absent if its box has no extent. An object one pixel wide is then
    absent although it has a mask, and an object that a crop removed may be present with an empty mask.
    """
    if published:
        present = np.all(clip.boxes[:, 2:] > clip.boxes[:, :2], axis=1)
        return replace(clip, present=present, boxes=clip.boxes * present[:, None])
    return replace(clip, present=clip.masks.any((1, 2)), boxes=tight_boxes(clip.masks))


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """bool [T, H, W] -> float64 [T, 4]: x1, y1, x2, y2 at the outer edges of the pixels; 0 for an empty mask."""
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def relative_boxes(clip: TrainingClip) -> np.ndarray:
    """Return float32 [T, 4]: cx, cy, w, h as shares of the frame, the form that the model predicts."""
    low, high = clip.boxes[:, :2], clip.boxes[:, 2:]
    height, width = clip.size
    return (np.concatenate(((low + high) / 2, high - low), axis=1) / np.array((width, height) * 2)).astype(np.float32)
