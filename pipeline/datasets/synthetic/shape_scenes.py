"""Scenes of several shapes that stay, move, leave or come, with look-alikes that only the sentence distinguishes.

A scene has a focus: the kind of sentence that it must allow. All choices depend on the given generator only. Lengths
are shares of the shorter side, and pixels in `SceneShape`.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.datasets.synthetic.kinds import FEWEST_FRAMES
from pipeline.datasets.synthetic.shapes import COLOURS, KINDS

PALETTE = COLOURS | {"orange": (240, 132, 30), "cyan": (60, 196, 208)}
FORMS = KINDS | {"cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.35) & (np.maximum(abs(x), abs(y)) <= 0.95)}
LOOKS = [(colour, form) for colour in PALETTE for form in FORMS]
# Looks that are not in train; in val and test every second scene has one of them.
UNSEEN = {("red", "triangle"), ("green", "cross"), ("blue", "diamond"), ("yellow", "circle"), ("white", "square")}
SIZES = {"small": (0.09, 0.12), "large": (0.17, 0.22)}  # radius
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
STILL = "still"
PASSAGES = ("leaves", "comes")
SHORTEST_MOVE = 0.25  # over the whole clip
LONGEST_MOVE = 0.7


@dataclass(frozen=True, kw_only=True)
class SceneShape:
    """One shape and its path; in pixels, x to the right and y down."""

    colour: str
    form: str
    size: str  # a key of SIZES
    motion: str  # a key of MOTIONS, or STILL
    passage: str | None  # of PASSAGES; None: present in all frames
    radius: float
    path: np.ndarray = field(repr=False)  # float [T, 2], centres

    @property
    def look(self) -> tuple[str, str]:
        return self.colour, self.form

    def mask(self, frame: int, height: int, width: int) -> np.ndarray:
        """Return bool [H, W]: the pixels of the shape without occlusion."""
        x = np.arange(width) + 0.5 - self.path[frame, 0]
        y = np.arange(height)[:, None] + 0.5 - self.path[frame, 1]
        return FORMS[self.form](x / self.radius, y / self.radius)


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Size, length and possible looks of a scene."""

    height: int
    width: int
    frames: int
    looks: tuple[tuple[str, str], ...]

    @property
    def side(self) -> int:
        return min(self.height, self.width)


def draw_actors(
    rng: np.random.Generator, settings: SceneSettings, focus: str, count: int, look: tuple[str, str] | None = None
) -> list[SceneShape]:
    """Draw `count` shapes, later ones in front; one of them has `look`, if given.

    Two shapes look alike. If the focus is appearance, they share only the colour or only the form.
    """
    looks = [settings.looks[i] for i in rng.permutation(len(settings.looks))]
    looks = ([look] if look else []) + [other for other in looks if other != look]
    size = str(rng.choice(list(SIZES)))
    stays = focus in ("relation", "position")  # all shapes stay, so that their order does not change
    if focus in ("motion", "absence"):
        motion = str(rng.choice(list(MOTIONS)))
    else:
        motion = STILL if stays else _any_motion(rng, settings)
    first = _draw(rng, settings, looks[0], size, motion, "leaves" if focus == "absence" else None)
    if focus == "absence" and rng.random() < 0.5:
        first = replace(first, passage="comes", motion=opposite(first.motion), path=first.path[::-1])
    actors = [first, _rival(rng, settings, first, focus)]
    others = [other for other in looks if other not in (first.look, actors[1].look)]
    for other in others[: count - len(actors)]:
        motion = STILL if stays else _any_motion(rng, settings)
        actors.append(_draw(rng, settings, other, str(rng.choice(list(SIZES))), motion, None))
    return [actors[i] for i in rng.permutation(len(actors))]


def _rival(rng: np.random.Generator, settings: SceneSettings, first: SceneShape, focus: str) -> SceneShape:
    """Draw a look-alike of `first` that differs from it in the focus."""
    look, size, motion = first.look, first.size, first.motion
    if focus == "appearance":
        shared = int(rng.integers(2))
        similar = [other for other in settings.looks if other != look and other[shared] == look[shared]]
        look, size = similar[int(rng.integers(len(similar)))], str(rng.choice(list(SIZES)))
        motion = _any_motion(rng, settings)
    if focus == "size":
        size = next(name for name in SIZES if name != size)
    if focus == "motion":
        motion = opposite(motion) if rng.random() < 0.7 else STILL
    if focus == "absence":
        motion = _any_motion(rng, settings)
    return _draw(rng, settings, look, size, motion, None)


def _any_motion(rng: np.random.Generator, settings: SceneSettings) -> str:
    if settings.frames < FEWEST_FRAMES or rng.random() < 0.25:
        return STILL
    return str(rng.choice(list(MOTIONS)))


def opposite(motion: str) -> str:
    """Return the opposite of one of MOTIONS."""
    return {"left": "right", "right": "left", "up": "down", "down": "up"}[motion]


def _draw(
    rng: np.random.Generator,
    settings: SceneSettings,
    look: tuple[str, str],
    size: str,
    motion: str,
    passage: str | None,
) -> SceneShape:
    """Draw a shape at a random place. A shape with a passage leaves; reverse its path for the other passage."""
    radius = rng.uniform(*SIZES[size]) * settings.side
    extent = np.array((settings.width, settings.height), float)
    direction = np.array(MOTIONS.get(motion, (0, 0)), float)
    start = rng.uniform(radius, extent - radius)
    axis = int(abs(direction).argmax())
    room = extent[axis] - 2 * radius
    length = min(rng.uniform(SHORTEST_MOVE, LONGEST_MOVE) * settings.side, room)
    steps = np.arange(settings.frames) / max(1, settings.frames - 1)
    if passage is not None:  # just outside the frame after half to three quarters of the clip
        gone = rng.uniform(0.5, 0.75)
        length = rng.uniform(0.3, 0.9) * room + 2 * radius
        edge = extent[axis] + radius if direction[axis] > 0 else -radius
        start[axis] = edge - direction[axis] * length
        length /= gone
    elif motion != STILL:  # the whole path is inside the frame
        low = radius + (length if direction[axis] < 0 else 0)
        start[axis] = low + rng.random() * (room - length)
    path = start + steps[:, None] * direction * (length if motion != STILL else 0)
    colour, form = look
    return SceneShape(
        colour=colour, form=form, size=size, motion=motion, passage=passage, radius=float(radius), path=path
    )


def visible_masks(actors: list[SceneShape], settings: SceneSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of all shapes with and without occlusion, each bool [N, T, H, W]."""
    whole = np.stack(
        [[actor.mask(t, settings.height, settings.width) for t in range(settings.frames)] for actor in actors]
    )
    seen = whole.copy()
    for behind in range(len(actors)):
        seen[behind] &= ~whole[behind + 1 :].any(0)
    return seen, whole


def paint(actors: list[SceneShape], seen: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the frames, uint8 [T, H, W, 3]."""
    frames = np.repeat(background[None], seen.shape[1], axis=0)
    for actor, masks in zip(actors, seen, strict=True):
        frames[masks] = PALETTE[actor.colour]
    return frames
