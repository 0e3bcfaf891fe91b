"""A synthetic data set: videos of moving shapes, sentences about one shape each, exact masks.

The three splits differ in seeds and backgrounds; `val` and `test` also have looks that are not in `train`.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.synthetic.kinds import FEWEST_FRAMES, FOCUSES, SPLITS, STILL_FOCUSES
from pipeline.datasets.synthetic.shape_scenes import (
    LOOKS,
    UNSEEN,
    SceneSettings,
    SceneShape,
    draw_actors,
    paint,
    visible_masks,
)
from pipeline.datasets.synthetic.shape_sentences import Sentence, sentence_about_nothing, sentences
from pipeline.datasets.synthetic.shapes import annotation_rows, texture, write_rows
from pipeline.drawing.write_video import write_mp4
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS

TRIES = 500  # scenes drawn until one allows a sentence of the focus
LEAST_PIXELS = 12  # visible pixels of a target, in its best frame
LEAST_SHARE = 0.4  # visible share of a target, mean over the frames that contain it


@dataclass(frozen=True, kw_only=True)
class SyntheticVideos:
    """The videos of one split. `frames` and `shapes` are ranges per video that include both ends."""

    videos: int
    split: str = "train"
    height: int = 96
    width: int = 128
    frames: tuple[int, int] = (8, 16)
    shapes: tuple[int, int] = (2, 5)
    expressions: int = 3  # per video, at most
    focus: str | None = None  # focus of all scenes, whose sentences come first; None: each focus in turn
    no_target: bool = False  # add a sentence about a missing shape to each video
    seed: int = 0

    def write(self, folder: str) -> tuple[str, str, Counter[str]]:
        """Render videos/*.mp4 and both tables into `folder`, local or URI.

        Returns the URIs of the manifest and of the annotations, and the number of sentences of each kind.
        """
        pairs, masks = [], []
        for video_pairs, video_masks in bounded_map(
            lambda i: self._write_one(folder, i), range(self.videos), os.cpu_count() or 1
        ):
            pairs += video_pairs
            masks += video_masks
        kinds = Counter(row["kind"] for row in pairs)
        return (
            write_rows(storage.join(folder, "manifest.parquet"), pairs, MANIFEST),
            write_rows(storage.join(folder, "annotations.parquet"), masks, ANNOTATIONS),
            kinds,
        )

    def _write_one(self, folder: str, index: int) -> tuple[list[dict], list[dict]]:
        video_id = f"{self.split}-{index:05d}"
        scene = self.scene(index)
        background = BACKGROUNDS[self.split](self._rng(index, 1), self.height, self.width)
        frames = paint(scene.actors, scene.seen, background)
        write_mp4(storage.join(folder, "videos", f"{video_id}.mp4"), tuple(frames), fps=12)
        length = len(frames)
        rows = [
            {
                "video_id": video_id,
                "video_uri": f"videos/{video_id}.mp4",
                "expression_id": str(number),
                "expression": sentence.text,
                "num_frames": length,
                "object_ids": [] if sentence.target is None else [str(sentence.target)],
                "split": self.split,
                "kind": sentence.kind,
                "objects": len(scene.actors),
                "length": "short" if length < 10 else "medium" if length < 20 else "long",
                **scene.attributes(sentence.target),
            }
            for number, sentence in enumerate(scene.sentences)
        ]
        return rows, list(annotation_rows(video_id, scene.seen))

    def scene(self, index: int) -> "SyntheticScene":
        """Draw scene number `index`."""
        rng = self._rng(index, 0)
        frames = int(rng.integers(self.frames[0], self.frames[1] + 1))
        focuses = FOCUSES if frames >= FEWEST_FRAMES else STILL_FOCUSES
        focus = self.focus or focuses[index % len(focuses)]
        train = self.split == "train"
        looks = tuple(look for look in LOOKS if not train or look not in UNSEEN)
        settings = SceneSettings(height=self.height, width=self.width, frames=frames, looks=looks)
        for _ in range(TRIES):
            count = int(rng.integers(self.shapes[0], self.shapes[1] + 1))
            count = max(count, 3 if focus == "relation" else 2)
            new = sorted(UNSEEN)[int(rng.integers(len(UNSEEN)))] if not train and index // len(focuses) % 2 else None
            actors = draw_actors(rng, settings, focus, count, new)
            seen, whole = visible_masks(actors, settings)
            shown = set()
            for i in range(count):
                shares, pixels = _visible_shares(seen[i], whole[i]), seen[i].sum((1, 2))
                if len(shares) and shares.mean() >= LEAST_SHARE and pixels.max() >= LEAST_PIXELS:
                    shown.add(i)
            possible = [s for s in sentences(actors, settings.side, rng) if s.target in shown]
            if any(sentence.kind == focus for sentence in possible):
                chosen = _choose(possible, focus, self.expressions, rng, alone=self.focus is not None)
                if self.no_target:
                    chosen.append(sentence_about_nothing(actors, rng))
                return SyntheticScene(actors, seen, whole, chosen)
        raise AssertionError(f"no scene for {focus} in {TRIES} tries")

    def _rng(self, index: int, use: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(self.split), index, use])


@dataclass(frozen=True)
class SyntheticScene:
    """The shapes, masks and sentences of one video."""

    actors: list[SceneShape]
    seen: np.ndarray  # bool [N, T, H, W], visible masks
    whole: np.ndarray  # bool [N, T, H, W], without occlusion
    sentences: list[Sentence]

    def attributes(self, target: int | None) -> dict[str, str | None]:
        """Return the attributes of a sentence with this target; None values without a target."""
        if target is None:
            return dict.fromkeys(("size", "movement", "occlusion", "absent", "unseen"))
        actor, hidden = self.actors[target], 1 - _visible_shares(self.seen[target], self.whole[target])
        worst = hidden.max(initial=0)
        return {
            "size": actor.size,
            "movement": actor.motion,
            "occlusion": "none" if worst < 0.05 else "part" if worst < 0.5 else "heavy",
            "absent": actor.passage or "never",
            "unseen": "yes" if actor.look in UNSEEN else "no",
        }


def _visible_shares(seen: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the visible share of a shape in each frame that contains it."""
    area = whole.sum((1, 2))
    return seen.sum((1, 2))[area > 0] / area[area > 0]


def _choose(
    possible: list[Sentence], focus: str, count: int, rng: np.random.Generator, *, alone: bool
) -> list[Sentence]:
    """Choose at random: a sentence of the focus, then one of each other kind, then sentences about other targets.

    alone: all sentences of the focus come first.
    """
    order = [possible[i] for i in rng.permutation(len(possible))]
    order.sort(key=lambda sentence: sentence.kind != focus)
    if alone:
        return order[:count]
    kinds: dict[str, Sentence] = {}
    targets: dict[tuple, Sentence] = {}
    for sentence in order:
        kinds.setdefault(sentence.kind, sentence)
        targets.setdefault((sentence.kind, sentence.target), sentence)
    others = [sentence for sentence in targets.values() if sentence not in kinds.values()]
    return [*kinds.values(), *others][:count]


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw dull stripes in a random direction, with grain."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 24)
    y, x = np.mgrid[0:height, 0:width]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    base = rng.uniform(80, 140) + rng.uniform(-12, 12, 3)
    image = base + 16 * wave[..., None] + rng.normal(0, 4, (height, width, 1))
    return image.clip(0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw soft dull clouds over a gradient, with grain."""
    y, x = np.mgrid[0:height, 0:width]
    image = rng.uniform(80, 140) + rng.uniform(-12, 12, 3) + (rng.uniform(-25, 25) * x / width)[..., None]
    for _ in range(6):
        waves = rng.uniform(0.5, 3, 2) * 2 * np.pi / (width, height)
        phase = rng.uniform(0, 2 * np.pi, 2)
        image = image + (9 * np.sin(x * waves[0] + phase[0]) * np.sin(y * waves[1] + phase[1]))[..., None]
    return (image + rng.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)


def _blocks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw blocks of two sizes with a random brightness and tint."""
    shift = rng.uniform(-28, 32) + rng.uniform(-12, 12, 3)
    return (texture(rng, height, width) + shift).clip(0, 255).astype(np.uint8)


def _ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a gradient in a random direction, with grain."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 40)
    y, x = np.mgrid[0:height, 0:width] / height - 0.5
    image = rng.uniform(80, 140) + rng.uniform(-12, 12, 3)
    image = image + (strength * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    return (image + rng.normal(0, rng.uniform(1, 6), (height, width, 1))).clip(0, 255).astype(np.uint8)


def _discs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw faint overlapping discs of all sizes."""
    y, x = np.mgrid[0:height, 0:width] / height
    image = np.full((height, width, 3), rng.uniform(80, 140)) + rng.uniform(-12, 12, 3)
    for _ in range(int(rng.integers(5, 15))):
        inside = (x - rng.uniform(0, width / height)) ** 2 + (y - rng.uniform()) ** 2 < rng.uniform(0.05, 0.4) ** 2
        image[inside] += rng.uniform(-18, 18)
    return (image + rng.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "train": lambda rng, height, width: (_blocks, _ramp, _discs)[int(rng.integers(3))](rng, height, width),
    "val": _stripes,
    "test": _clouds,
}
