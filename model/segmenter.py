"""The interface between the pipeline and a model: prepared frames and sentences in, masks at the displayed size out.

`model.families` loads an implementation from a checkpoint folder. This module needs numpy only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True)
class InferenceRules:
    """Treatment of frames, words and masks that the published scripts of some benchmarks prescribe."""

    pad_to: int = 1  # pad the model input to the right and below, to sides that are multiples of so many pixels
    lower_case: bool = False  # lower-case expressions, and separate their words by single blanks
    nearest: bool = False  # threshold masks at the size of the model input, then resize them by nearest sampling
    all_candidates: bool = False  # answer with all object queries, not with the chosen one only


@dataclass(frozen=True)
class Refining:
    """How a `Segmenter` of `model.families.load_refiner` refines masks."""

    prompt: str = "mask"  # what it is given of the surest frame: "mask", or "box" around it
    fuse: bool = False  # unite the masks with the given ones where those have several objects


@dataclass(frozen=True)
class SourceMasks:
    """The masks to refine: those of one pair, for the T frames of a window."""

    areas: np.ndarray  # int64 [T], pixels of each mask; 0: it is empty, or there is none for this frame
    scores: np.ndarray  # float32 [T], probability that the object is present; 1 if unknown
    margins: Sequence[float | None]  # of the chosen candidate over the best other one
    mask: Callable[[int], np.ndarray]  # position in the window -> bool [H, W]

    @property
    def surest(self) -> int | None:
        """Position of the mask with the highest score, of equal ones the largest; None if all are empty."""
        order = np.lexsort((-self.areas, -self.scores, self.areas == 0))
        return int(order[0]) if len(order) and self.areas[order[0]] else None


@dataclass(frozen=True)
class Overlap:
    """Position of a window in its video, where windows share frames or the model follows objects through them.

    Positions count the chosen frames from 0.
    """

    start: int  # position of the window's first frame
    final: int  # later windows start here or further on: frames before it are complete after this window
    tracks: Sequence[object | None]  # per expression, `Segmentation.track` of the previous window; None in the first
    sources: Sequence[SourceMasks] = ()  # per expression, for a model that refines masks instead of reading sentences


@dataclass(frozen=True)
class Segmentation:
    """Masks of one expression in one window, for K output frames of H x W pixels."""

    masks: np.ndarray  # bool [K, H, W]; each frame column by column in memory, as run lengths are counted
    scores: np.ndarray  # float32 [K], probability that the object is present in the frame
    boxes: np.ndarray  # float32 [K, 4], x, y, w, h in pixels of the displayed frame
    query: int | None  # number of the candidate that was chosen for the whole window; None: there is nothing to choose
    margin: float | None  # its score in the window minus that of the best other candidate; None with one candidate
    finite: bool  # False: the model's output overflowed or is NaN, and the masks are unusable
    track: object | None = None  # with an `Overlap`: state of the family for the next window, opaque to the pipeline
    others: tuple["Segmentation", ...] = ()  # with `InferenceRules.all_candidates`: those that were not chosen
    follows: bool = False  # True: earlier windows took part in the answer, not only this one
    thin: bool = False  # True: a mask to refine vanished at the model's resolution, and is the answer of its frame
    presence: float | None = None  # probability that the sentence means something in the window; None: not predicted
    quality: float | None = None  # predicted mean IoU of the window's masks, 0 if nothing is meant; None as `presence`

    @property
    def candidates(self) -> list["Segmentation"]:
        """All candidates, in order of their numbers."""
        return sorted((self, *self.others), key=lambda candidate: candidate.query or 0)


@dataclass(frozen=True)
class SegmenterStats:
    """Counters of a segmenter since they were last read."""

    halvings: int = 0  # times that memory was full and the batch was halved
    parity: float | None = None  # share of mask pixels that differ from plain float32; None if nothing was compared


class Segmenter(Protocol):
    """A loaded model. One thread calls `segment` and `stats`; another may call `prepare` and `count_tokens`."""

    @property
    def max_tokens(self) -> int:
        """Length of the longest expression that the model takes, as `count_tokens` counts."""
        ...

    @property
    def lookahead(self) -> int | None:
        """None: each window is segmented on its own. A number: the model follows objects from frame to frame.

        Such a follower is shown every window of a video, in order and with an `Overlap`, also those without a frame to
        output. Consecutive windows share `lookahead` frames or more: so many later frames may change the masks of a
        frame. A call must not change the tracks that it gets, since it is repeated when memory is full.
        """
        ...

    def count_tokens(self, expression: str) -> int:
        """Count the tokens of an expression, with those that the model adds."""
        ...

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize a displayed frame, uint8 [H, W, 3] RGB, to the model's input, uint8 [h, w, 3].

        Raises ValueError, before memory is allocated, if the result would be too large or too small for the model.
        """
        ...

    def segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: Sequence[int] | None = None,
        overlap: Overlap | None = None,
        exclusive: Sequence[int] = (),
    ) -> Iterator[Segmentation]:
        """Yield one `Segmentation` per expression, in order, each computed when it is asked for.

        frames: one window, each frame as `prepare` returned it.
        size: height and width of the displayed video.
        keep: positions in the window to output; None for all, none only for a follower. The other frames are context.
        overlap: position of the window where windows share frames, and always for a follower. The result then holds
        only the kept frames before `overlap.final`; the others follow with the next window, which needs
        `Segmentation.track`.
        exclusive: lengths of consecutive groups of expressions. Within a group, a pixel belongs to the most probable
        object only, and to the first of equal ones. Empty: the masks of different expressions may overlap.

        Raises ValueError for frames of different or too small size and for an overlap if the family does not support
        it, FastModeError if the chosen precision or compilation fails, and torch's own errors when out of memory.
        """
        ...

    def stats(self) -> SegmenterStats:
        """Return the counters since the last call. Raises FastModeError if masks differ too much from float32."""
        ...


@runtime_checkable
class ComparingSegmenter(Protocol):
    """A segmenter in a fast mode, which compares its masks with float32 until `stats` is called."""

    def compare_again(self) -> None:
        """Compare from now on, until the next call of `stats`."""
        ...


@runtime_checkable
class RatingSegmenter(Protocol):
    """A segmenter that predicts the quality of its masks, and which sentences mean nothing."""

    @property
    def no_target_below(self) -> float:
        """Presence of a pair below which its sentence is taken to mean nothing; 0: none is."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """Properties of a checkpoint folder, read without loading the model."""

    family: str  # a key of `model.families.FAMILIES`
    digest: str  # sha256, in hex, over everything in the folder that decides the masks
    short_side: int  # default size of the model's input: pixels of the shorter side
    max_tokens: int  # length of the longest expression
    count_tokens: Callable[[str], int]  # as `Segmenter.count_tokens`
    resize: Callable[[np.ndarray, int, int | None], np.ndarray]  # frame, short_side, max_size; as `Segmenter.prepare`
    supports_overlap: bool = True  # False: the family cannot carry an object's identity from window to window
    supports_rules: bool = False  # True: `InferenceRules` and exclusive masks
    no_target_below: float | None = None  # default of the threshold on the presence; None: it is not predicted
    tracking: str = ""  # the code that follows objects, if it is not this package's: name and version
    lookahead: int | None = None  # as `Segmenter.lookahead`
    answers: tuple[str, ...] = ()  # ways to make one mask of several instances, the default first
