"""One window of frames through the model for all pairs that want it; what goes wrong stays with its pair."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from model.memory import is_out_of_memory, release_cache
from model.referformer.inference.linking import Track
from model.referformer.inference.segmenter import Overlap, Segmentation, Segmenter
from pipeline.segment.clips import Window
from schemas import rle

NOT_FINITE = "the model's output is not finite; check the checkpoint, or use another --window"


@dataclass(slots=True)
class PairState:
    """What has become of one pair of a clip so far."""

    number: int  # within its clip
    row: dict
    failure: tuple[str, str] | None = None  # status, text
    frames: int = 0
    scores: float = 0.0  # their sum
    track: Track | None = None  # where windows share frames: what the last one left for the next

    @property
    def mean_score(self) -> float:
        return self.scores / self.frames


OnAnswer = Callable[[PairState, Window, Sequence[int], Segmentation], None]  # frames at these positions of the window


@dataclass(slots=True)
class WindowSegmenter:
    """A model at work: windows in, answers out. The seconds of the `model` are counted up.

    With `reduce_window` a pair that runs out of memory is segmented in halves of its window, and so on down to single
    frames; else it fails.
    """

    segmenter: Segmenter
    seconds: dict[str, float]
    reduce_window: bool = False

    def segment(self, window: Window, pairs: list[PairState], answer: OnAnswer) -> None:
        """Call `answer` for each pair that has not failed, with those frames of the window that it wants."""
        wanted: dict[tuple[int, ...], list[PairState]] = {}
        for pair, targets in zip(pairs, window.clip.targets, strict=True):
            kept = tuple(i for i, name in enumerate(window.names) if targets is None or name in targets)
            if kept and not pair.failure:
                wanted.setdefault(kept, []).append(pair)
        for kept, group in wanted.items():
            self._segment_group(window, kept, group, answer)

    def _segment_group(self, window: Window, kept: Sequence[int], group: list[PairState], answer: OnAnswer) -> None:
        """One model call. Those that it has no memory for are tried alone, so that only the guilty ones fail."""
        done, reason = self._call(window, kept, group, answer)
        if reason is None:
            return
        release_cache()
        if len(group) > 1:
            for pair in group[done:]:
                self._segment_group(window, kept, [pair], answer)
        elif self.reduce_window and len(window.frames) > 1:
            self._segment_halves(window, kept, group, answer)
        else:
            frames = f"{len(window.frames)} frames" if len(window.frames) > 1 else "one frame"
            hint = "--short-side" if self.reduce_window else "--window or --short-side, or --on-oom reduce-window"
            text = f"frame {window.names[0]}: out of memory on a window of {frames} ({reason}); use a smaller {hint}"
            group[0].failure = ("oom", text)

    def _segment_halves(self, window: Window, kept: Sequence[int], group: list[PairState], answer: OnAnswer) -> None:
        middle = len(window.frames) // 2
        for start, stop in ((0, middle), (middle, len(window.frames))):
            inside = [i - start for i in kept if start <= i < stop]
            if inside and not group[0].failure:
                self._segment_group(window.part(start, stop), inside, group, answer)

    def _call(
        self, window: Window, kept: Sequence[int], group: list[PairState], answer: OnAnswer
    ) -> tuple[int, str | None]:
        """How many of the group are through, and why not all: None, or the text of the device that is out of memory."""
        done = 0
        started = time.perf_counter()
        try:
            for pair, found in zip(group, self._answers(window, kept, group), strict=True):
                self.seconds["model"] += time.perf_counter() - started
                if found.finite:
                    ready = _ready(window, kept)
                    if ready:
                        answer(pair, window, ready, replace(found, track=None))  # which need not wait to be written
                        pair.frames += len(ready)
                        pair.scores += sum(found.scores.tolist())
                    pair.track = found.track
                else:
                    pair.track = None
                    pair.failure = ("nan", f"frames {window.names[0]} to {window.names[-1]}: {NOT_FINITE}")
                done += 1
                started = time.perf_counter()
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
            return done, str(error).partition("\n")[0] or "the host's memory is full"
        return done, None

    def _answers(self, window: Window, kept: Sequence[int], group: list[PairState]) -> Iterator[Segmentation]:
        keep = None if len(kept) == len(window.frames) else list(kept)
        expressions = [pair.row["expression"] for pair in group]
        if window.final is None:
            return self.segmenter.segment(window.frames, window.size, expressions, keep)
        overlap = Overlap(window.start, window.final, [pair.track for pair in group])
        return self.segmenter.segment(window.frames, window.size, expressions, keep, overlap)


def _ready(window: Window, kept: Sequence[int]) -> Sequence[int]:
    """Those of the kept frames whose rows can be written: no later window has them."""
    return kept if window.final is None else [i for i in kept if window.start + i < window.final]


def frame_rows(window: Window, kept: Sequence[int], found: Segmentation) -> dict[str, list]:
    """The columns of FRAME_ROWS for one answer; the masks are encoded here.

    Where windows share frames, `query` and `window` are those of the last window that saw the frame.
    """
    height, width = window.size
    count = len(kept)
    return {
        "frame_index": [window.indices[i] for i in kept],
        "frame_name": [window.names[i] for i in kept],
        "height": [height] * count,
        "width": [width] * count,
        "counts": rle.encode(found.masks),
        "score": found.scores.tolist(),
        "box": found.boxes.tolist(),
        "query": [found.query] * count,
        "margin": [found.margin] * count,
        "window": [len(window.frames)] * count,
    }
