"""A small data set of moving shapes with exact masks, for tests and benchmarks.

A scene is a few coloured shapes, no two alike, that drift over a dull textured background, bounce off its borders and
hide one another. Everything follows from the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.datasets.synthetic.shapes import COLOURS, KINDS, annotation_rows, texture, write_rows
from pipeline.drawing.write_video import write_mp4
from pipeline.io import storage
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS


@dataclass(frozen=True, kw_only=True)
class MovingShape:
    """One shape; lengths in pixels, velocity in pixels a frame, positions as (x, y)."""

    colour: str
    kind: str
    radius: float
    start: tuple[float, float]
    velocity: tuple[float, float]

    def mask(self, frame: int, height: int, width: int) -> np.ndarray:
        """bool [H, W]: the pixels that the shape would cover if nothing hid it."""
        x = np.arange(width) + 0.5 - self._place(0, frame, width)
        y = np.arange(height)[:, None] + 0.5 - self._place(1, frame, height)
        return KINDS[self.kind](x / self.radius, y / self.radius)

    def _place(self, axis: int, frame: int, side: int) -> float:
        """Centre along one axis: a straight line, folded back between the borders."""
        room = side - 2 * self.radius
        travelled = (self.start[axis] + self.velocity[axis] * frame - self.radius) % (2 * room)
        return self.radius + min(travelled, 2 * room - travelled)


@dataclass(frozen=True, kw_only=True)
class MovingScene:
    """What one video shows. Later shapes lie in front of earlier ones."""

    shapes: tuple[MovingShape, ...]
    background: np.ndarray = field(repr=False)  # uint8 [H, W, 3]

    @classmethod
    def random(cls, rng: np.random.Generator, height: int, width: int, num_shapes: int) -> "MovingScene":
        pairs = rng.permutation([(colour, kind) for colour in COLOURS for kind in KINDS])[:num_shapes]
        shapes = [_random_shape(rng, str(colour), str(kind), height, width) for colour, kind in pairs]
        return cls(shapes=tuple(shapes), background=texture(rng, height, width))

    def render(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """One frame uint8 [H, W, 3], and what is visible of each shape in it, bool [N, H, W]."""
        image, masks = self.background.copy(), []
        for shape in self.shapes:
            mask = shape.mask(frame, *image.shape[:2])
            image[mask] = COLOURS[shape.colour]
            masks = [below & ~mask for below in masks] + [mask]
        return image, np.stack(masks)


@dataclass(frozen=True, kw_only=True)
class MovingShapes:
    """A data set of `videos` scenes, each `num_frames` frames of `height` x `width` (even numbers, for the codec)."""

    videos: int
    num_frames: int = 24
    height: int = 128
    width: int = 192
    num_shapes: int = 3
    seed: int = 0

    def write(self, folder: str) -> tuple[str, str]:
        """Render videos/*.mp4 and both tables into `folder`, local or URI.

        Returns the URIs of the manifest and of the annotations.
        """
        pairs, masks = [], []
        for index in range(self.videos):
            video_id = f"shapes-{index:04d}"
            rng = np.random.default_rng([self.seed, index])
            scene = MovingScene.random(rng, self.height, self.width, self.num_shapes)
            frames, visible = zip(*map(scene.render, range(self.num_frames)), strict=True)
            write_mp4(storage.join(folder, "videos", f"{video_id}.mp4"), frames, fps=12)
            pairs += self._manifest_rows(video_id, scene)
            masks += annotation_rows(video_id, np.stack(visible, axis=1))
        return (
            write_rows(storage.join(folder, "manifest.parquet"), pairs, MANIFEST),
            write_rows(storage.join(folder, "annotations.parquet"), masks, ANNOTATIONS),
        )

    def _manifest_rows(self, video_id: str, scene: MovingScene) -> Iterator[dict]:
        for number, shape in enumerate(scene.shapes):
            yield {
                "video_id": video_id,
                "video_uri": f"videos/{video_id}.mp4",
                "expression_id": str(number),
                "expression": f"the {shape.colour} {shape.kind}",
                "num_frames": self.num_frames,
                "object_ids": [str(number)],
                "colour": shape.colour,
                "shape": shape.kind,
            }


def _random_shape(rng: np.random.Generator, colour: str, kind: str, height: int, width: int) -> MovingShape:
    radius = rng.uniform(0.12, 0.22) * min(height, width)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.03) * min(height, width)
    return MovingShape(
        colour=colour,
        kind=kind,
        radius=float(radius),
        start=(float(rng.uniform(radius, width - radius)), float(rng.uniform(radius, height - radius))),
        velocity=(float(speed * np.cos(angle)), float(speed * np.sin(angle))),
    )
