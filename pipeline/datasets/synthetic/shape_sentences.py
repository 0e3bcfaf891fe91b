"""Sentences that are true of exactly one shape of a scene, from a small grammar.

A noun names a look ("red circle", "red shape", "circle"). If it fits several shapes, the sentence adds a size, a
motion, a position, a relation to another shape, or that the shape leaves or comes. The addition is true in all frames,
by a margin, and of no other shape that fits the noun.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.synthetic.shape_scenes import LOOKS, MOTIONS, STILL, SceneShape, opposite

MARGIN = 0.08  # smallest distance along the axis of a position or relation, as a share of the shorter side

APPEARANCE = ("the {noun}", "the {noun} in the video", "{noun}")
SIZED = ("the {size} {noun}", "the {noun} that is {size}")
WORDS_OF_SIZE = {"small": ("small", "little"), "large": ("large", "big")}
MOVING = ("the {noun} moving {motion}", "the {noun} that moves {motion}", "the {noun} going {motion}")
STAYING = ("the {noun} that stays still", "the {noun} that does not move", "the motionless {noun}")
POSITIONS = {  # axis, sign: which end
    "left": ((0, -1), ("the leftmost {noun}", "the {noun} on the left")),
    "right": ((0, 1), ("the rightmost {noun}", "the {noun} on the right")),
    "top": ((1, -1), ("the topmost {noun}", "the {noun} at the top")),
    "bottom": ((1, 1), ("the lowest {noun}", "the {noun} at the bottom")),
}
RELATIONS = {
    "left": ((0, -1), ("the {noun} left of the {other}", "the {noun} to the left of the {other}")),
    "right": ((0, 1), ("the {noun} right of the {other}", "the {noun} to the right of the {other}")),
    "above": ((1, -1), ("the {noun} above the {other}", "the {noun} over the {other}")),
    "below": ((1, 1), ("the {noun} below the {other}", "the {noun} under the {other}")),
}
PASSING = {
    "leaves": ("the {noun} that leaves the picture", "the {noun} that disappears from view"),
    "comes": ("the {noun} that comes into the picture", "the {noun} that enters from outside"),
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence about shape number `target`; None: no shape fits."""

    text: str
    kind: str  # a focus, or "no-target"
    target: int | None


def sentences(actors: list[SceneShape], side: int, rng: np.random.Generator) -> Iterator[Sentence]:
    """Yield all true sentences, each in one random wording."""

    def say(wordings: tuple[str, ...], **words: str) -> str:
        return str(rng.choice(wordings)).format(**words)

    margin = MARGIN * side
    nouns: dict[str, list[int]] = {}  # the shapes that each noun fits
    for i, actor in enumerate(actors):
        for noun in (f"{actor.colour} {actor.form}", f"{actor.colour} shape", actor.form):
            nouns.setdefault(noun, []).append(i)
    unique = {noun: fits[0] for noun, fits in nouns.items() if len(fits) == 1}
    for noun, fits in nouns.items():
        if len(fits) == 1:
            yield Sentence(say(APPEARANCE, noun=noun), "appearance", fits[0])
            continue
        for i in fits:
            actor, others = actors[i], [actors[j] for j in fits if j != i]
            if all(other.size != actor.size for other in others):
                word = str(rng.choice(WORDS_OF_SIZE[actor.size]))
                yield Sentence(say(SIZED, noun=noun, size=word), "size", i)
            if all(other.motion != actor.motion for other in others) and len(actor.path) > 1:
                wordings = STAYING if actor.motion == STILL else MOVING
                yield Sentence(say(wordings, noun=noun, motion=actor.motion), "motion", i)
            if actor.passage and all(other.passage != actor.passage for other in others):
                yield Sentence(say(PASSING[actor.passage], noun=noun), "absence", i)
            for (axis, sign), wordings in POSITIONS.values():
                if all(_clear(actor, other, axis, sign, margin) for other in others):
                    yield Sentence(say(wordings, noun=noun), "position", i)
            for (axis, sign), wordings in RELATIONS.values():
                for name, j in unique.items():
                    if j in fits or " " not in name or name.endswith("shape"):
                        continue
                    held = _clear(actor, actors[j], axis, sign, margin)
                    if held and all(_clear(other, actors[j], axis, -sign, margin) for other in others):
                        yield Sentence(say(wordings, noun=noun, other=name), "relation", i)


def sentence_about_nothing(actors: list[SceneShape], rng: np.random.Generator) -> Sentence:
    """Return a sentence about a look that no shape of the scene has."""
    present = {actor.look for actor in actors}
    absent = [look for look in LOOKS if look not in present]
    noun = " ".join(absent[int(rng.integers(len(absent)))])
    return Sentence(str(rng.choice(APPEARANCE)).format(noun=noun), "no-target", None)


def opposite_direction(text: str) -> str | None:
    """Reverse the direction of motion in a sentence, to test a model; None if it has none."""
    words = text.split()
    moving = {"moving", "moves", "going"} & set(words)
    return " ".join([*words[:-1], opposite(words[-1])]) if moving and words[-1] in MOTIONS else None


def _clear(actor: SceneShape, other: SceneShape, axis: int, sign: int, margin: float) -> bool:
    """Return True if `actor` is on one side of `other` in all frames; `sign` -1 means left or above."""
    return bool((sign * (actor.path[:, axis] - other.path[:, axis]) > margin).all())
