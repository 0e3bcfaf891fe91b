"""Events that the threads of the chain hand to each other, and the job of a unit that starts them.

decode -> model:  UnitStart (Control? AttemptStart (Window* ClipEnd)* AttemptEnd)* UnitEnd
model -> write:   UnitStart ((Answer* ClipDone)* AttemptEnd)* UnitDone
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from model.segmenter import Segmentation, SegmenterStats
from pipeline.runs.attempts import Attempt
from pipeline.runs.commit import ReplacedObject
from pipeline.runs.retry_step import RetryStep
from pipeline.segment.clips import ClipEnd, Window
from pipeline.segment.exclusive_masks import with_cause
from pipeline.segment.source_masks import SourcePair
from pipeline.video import LeftOut
from schemas.pair import PairKey


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitJob:
    """One unit to make, and the URI to write it to.

    `rows` are the plan rows to segment: all of the unit, or those to retry if an object is `replaced`.
    """

    unit_id: str
    fingerprint: str
    uri: str
    rows: list[dict]
    run_id: str = ""
    made_with: str = ""  # for the receipt
    otherwise: str = ""  # options that differ from those of the run
    decides: bool = False  # whether a fast mode is good enough
    moves_with: frozenset[str] = frozenset()  # statuses with which another node tries it before a row is committed
    confirm: Callable[[], None] = lambda: None  # called before the commit; raises if the run is gone
    step: RetryStep = field(default_factory=RetryStep)
    replaced: ReplacedObject | None = None
    sources: Mapping[PairKey, SourcePair] = field(default_factory=dict)  # masks to refine, of each row
    refused: Sequence[tuple[dict, str, str]] = ()  # rows that are not tried, with status and error
    since: float = field(default_factory=time.perf_counter)  # when the unit came; the model waits for it from then on


@dataclass(slots=True)
class PairState:
    """Progress of one pair of a clip."""

    number: int  # within its clip
    row: dict
    failure: tuple[str, str] | None = None  # status, error
    frames: int = 0
    score_sum: float = 0.0
    presence: float | None = None  # the highest of its windows; None: the model predicts none
    quality_sum: float | None = None  # over the frames; None as `presence`
    means_nothing: bool = False  # its masks are written empty
    track: object | None = None  # where windows overlap: the state that the last one left for the next
    group: str | None = None  # the masks of one group exclude each other, so its pairs fail together
    source: SourcePair | None = None  # masks to refine
    thin: bool = False  # a mask of them is too thin for the model

    @property
    def pair_score(self) -> float:
        """The mean score of its frames."""
        return self.score_sum / self.frames

    @property
    def quality(self) -> float | None:
        """The expected J of its masks as they are written.

        The mean quality that was predicted in the windows of its frames; of empty masks, the probability that nothing
        is meant.
        """
        if self.means_nothing and self.presence is not None:
            return 1 - self.presence
        return None if self.quality_sum is None else self.quality_sum / self.frames


def share_failures(pairs: Sequence[PairState]) -> None:
    """Fail the pairs whose group has a failed pair."""
    causes = {pair.group: pair for pair in pairs if pair.failure and pair.group is not None}
    for pair in pairs:
        if pair.group and not pair.failure and (cause := causes.get(pair.group)) and cause.failure:
            status, error = cause.failure
            pair.failure = status, with_cause(PairKey.of(cause.row), error)


@dataclass(slots=True)
class UnitTimings:
    """Seconds of one unit, measured by the model's thread."""

    decode: float = 0.0  # in the decoding thread
    model: float = 0.0
    waiting: float = 0.0  # for windows
    blocked: float = 0.0  # until the writing thread took the answers


@dataclass(frozen=True, slots=True)
class UnitStart:
    job: UnitJob
    failed: list[tuple[dict, str, str]]  # rows that are not tried, with status and error


@dataclass(frozen=True, slots=True)
class AttemptStart:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Control:
    """An attempt at a picture that no video has, for so many seconds at least."""

    attempt: Attempt
    seconds: float


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class UnitEnd:
    """No more windows follow for the unit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer for one pair in one window, at the positions `kept` of the window."""

    pair: PairState
    window: Window
    kept: Sequence[int]
    found: Segmentation


@dataclass(frozen=True, slots=True)
class ClipDone:
    """The final state of the pairs of a clip, and what was left out of its video."""

    pairs: list[PairState]
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UnitDone:
    timings: UnitTimings
    stats: SegmenterStats


DecodeEvent = UnitStart | Control | AttemptStart | Window | ClipEnd | AttemptEnd | UnitEnd
ModelEvent = UnitStart | Answer | ClipDone | AttemptEnd | UnitDone
