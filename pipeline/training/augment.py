"""Changes to training clips: flip with the sentence, resize, crop; and the decisions, drawn from a generator.

Where the published code has a plain defect, ours does what was meant; `published` asks for the recorded behaviour:
"left" and "right" exchanged inside words too, boxes one pixel short and moved along instead of taken from the mask
that is left, colours as in `pipeline.training.colour`.
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
    """T frames, the referred object in them, and the sentence."""

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
    """What may happen to a clip. The defaults are the published ones for video.

    Half of the clips are resized, the others resized, cropped and resized again. `sizes` of one number and no crop
    make every clip the same size.
    """

    flip: float = 0.5  # probability
    colour: bool = True  # distort the colours, each frame for itself
    other_colours: float = 0.0  # probability, of a clip whose sentence names no colour, that all its colours are turned
    sizes: tuple[int, ...] = (288, 320, 352, 392, 416, 448, 480, 512)  # of the shorter side
    max_size: int = 640  # of the longer side
    crop: float = 0.5  # probability
    crop_from: tuple[int, ...] = (400, 500, 600)  # shorter side before the crop
    crop_sides: tuple[int, int] = (384, 600)  # smallest and largest side of the crop
    crop_sizes: tuple[int, ...] = ()  # shorter side after the crop; empty: as `sizes`
    crop_max_size: int = 640  # longer side after the crop
    published: bool = False  # with the published code's defects

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

    def apply(self, clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
        """A changed copy. Where a crop leaves nothing of the object, the clip is only resized."""
        if rng.random() < self.flip:
            clip = flip(clip, published=self.published)
        if self.colour:
            changed = [ColourChange.draw(rng).apply(frame, published=self.published) for frame in clip.frames]
            clip = replace(clip, frames=np.stack(changed))
        if self.other_colours and not names_colour(clip.sentence) and rng.random() < self.other_colours:
            clip = replace(clip, frames=other_colours(clip.frames, rng))
        if rng.random() < self.crop:
            cropped = settle(self._cropped(clip, rng), published=self.published)
            if cropped.present.any():
                return cropped
        resized = resize_clip(clip, int(rng.choice(self.sizes)), self.max_size)
        return settle(resized, published=self.published)

    def _cropped(self, clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
        clip = resize_clip(clip, int(rng.choice(self.crop_from)), None)
        smallest, largest = self.crop_sides
        height, width = (int(rng.integers(min(smallest, side), min(largest, side) + 1)) for side in clip.size)
        top, left = (
            int(rng.integers(whole - part + 1)) for whole, part in zip(clip.size, (height, width), strict=True)
        )
        return resize_clip(
            crop(clip, top, left, height, width), int(rng.choice(self.crop_sizes or self.sizes)), self.crop_max_size
        )


def flip(clip: TrainingClip, *, published: bool = False) -> TrainingClip:
    """Mirror left to right; the sentence follows."""
    x1, y1, x2, y2 = clip.boxes.T
    width = clip.size[1]
    swap = swap_letters if published else swap_sides
    return replace(
        clip,
        frames=clip.frames[:, :, ::-1],
        masks=clip.masks[:, :, ::-1],
        boxes=np.stack((width - x2, y1, width - x1, y2), axis=1),
        sentence=swap(clip.sentence),
    )


def swap_sides(sentence: str) -> str:
    """Exchange the words left and right, also as leftmost, left-hand, leftwards; not inside bright or upright."""

    def opposite(found: re.Match[str]) -> str:
        word = OPPOSITE[found[0].lower()]
        return word.upper() if found[0].isupper() else word.capitalize() if found[0][0].isupper() else word

    return SIDE.sub(opposite, sentence)


def swap_letters(sentence: str) -> str:
    """The published exchange: any "left" and "right", by way of "@"."""
    return sentence.replace("left", "@").replace("right", "left").replace("@", "right")


def resize_clip(clip: TrainingClip, short_side: int, max_size: int | None) -> TrainingClip:
    """The published rule for the sizes; frames by Pillow's bilinear filter, masks by nearest pixel."""
    height, width = clip.size
    new_height, new_width = resized_size(height, width, short_side, max_size)
    resample = Image.Resampling.BILINEAR
    frames = [np.asarray(Image.fromarray(x).resize((new_width, new_height), resample)) for x in clip.frames]
    masks = clip.masks[:, _nearest(height, new_height)][:, :, _nearest(width, new_width)]
    scale = np.array((new_width / width, new_height / height) * 2)
    return replace(clip, frames=np.stack(frames), masks=masks, boxes=clip.boxes * scale)


def crop(clip: TrainingClip, top: int, left: int, height: int, width: int) -> TrainingClip:
    """The part of each frame that starts at `top`, `left`."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    moved = clip.boxes - np.array((left, top) * 2)
    return replace(
        clip,
        frames=clip.frames[:, rows, columns],
        masks=clip.masks[:, rows, columns],
        boxes=moved.clip(0, np.array((width, height) * 2)),
    )


def settle(clip: TrainingClip, *, published: bool = False) -> TrainingClip:
    """Say, after all changes, where the object is: tight boxes of what is left of the masks.

    Published: the boxes as they were moved, and the object absent where its box has no extent. An object one pixel
    wide is then absent with its mask kept, and one that a crop took away may be present with none.
    """
    if published:
        present = np.all(clip.boxes[:, 2:] > clip.boxes[:, :2], axis=1)
        return replace(clip, present=present, boxes=clip.boxes * present[:, None])
    return replace(clip, present=clip.masks.any((1, 2)), boxes=tight_boxes(clip.masks))


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """bool [T, H, W] -> float64 [T, 4]: outer edges of the outermost pixels, x1, y1, x2, y2; 0 where there are none."""
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def relative_boxes(clip: TrainingClip) -> np.ndarray:
    """float32 [T, 4]: cx, cy, w, h as shares of the frame, as the model predicts them."""
    low, high = clip.boxes[:, :2], clip.boxes[:, 2:]
    height, width = clip.size
    return (np.concatenate(((low + high) / 2, high - low), axis=1) / np.array((width, height) * 2)).astype(np.float32)


def _nearest(old: int, new: int) -> np.ndarray:
    """Which of `old` pixels each of `new` ones takes; in single precision, which decides some rows."""
    index = np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.int64)
    return index.clip(max=old - 1)
