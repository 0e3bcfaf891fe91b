"""SAM 3 follows every instance of what a sentence names, from frame to frame.

Masks equal those of transformers' processor and `propagate_in_video_iterator` on the whole video bit for bit, however
it is cut into windows, within the limits of `concept_session`. Each expression has a session of its own, since in one
session they change each other's masks; the image features of a frame are computed once for all of them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.boxes import box_of
from model.sam.concept_session import MOST_OBJECTS, ConceptSession
from model.sam.instances import ANSWERS, Instances, Pending
from model.sam.kernels import use_own_kernels
from model.sam.phrases import Phrases
from model.sam.pixels import Pixels
from model.sam.propagator import PRECISIONS
from model.segmenter import Overlap, Segmentation, SegmenterStats


class OnceAFrame:
    """A method of the model that each session calls with the same frame: computed by the first one."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self.compute = compute
        self.value: Any = None

    def forget(self) -> None:
        """The next call computes again."""
        self.value = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.value is None:
            self.value = self.compute(*args, **options)
        return self.value


@dataclass
class Following:
    """The state of one expression between two windows."""

    session: ConceptSession
    next: int = 0  # position of the first frame that it has not seen
    pending: Pending = field(default_factory=Pending)
    finite: bool = True

    def fork(self) -> "Following":
        """Return the same state, to be changed without changing this one."""
        frames, choice = dict(self.pending.frames), replace(self.pending.choice)
        return replace(self, session=self.session.fork(), pending=replace(self.pending, frames=frames, choice=choice))


class ConceptSegmenter:
    """A `Segmenter` for SAM 3; not thread-safe, except `prepare` and `count_tokens`."""

    def __init__(
        self,
        model: torch.nn.Module,
        phrases: Phrases,
        pixels: Pixels,
        *,
        device: torch.device,
        precision: str = "fp32",
        answer: str = "union",
        threshold: float = 0.5,
    ) -> None:
        """Take a `Sam3VideoModel`, its tokenizer and the size of its input.

        Raises ValueError for an unknown precision or answer, or a threshold out of (0, 1).
        """
        if precision not in PRECISIONS or answer not in ANSWERS or not 0 < threshold < 1:
            raise ValueError(f"unknown precision {precision!r}, answer {answer!r} or threshold {threshold}")
        use_own_kernels()
        self.model: Any = model.to(device).eval()
        self.model.max_num_objects = min(self.model.max_num_objects, MOST_OBJECTS)
        self.phrases, self.pixels = phrases, pixels
        self.device, self.dtype, self.answer = device, PRECISIONS[precision], answer
        self.cut = math.log(threshold / (1 - threshold))
        self.lookahead = lookahead_of(self.model.config)
        self.max_tokens = phrases.max_tokens
        tracker = self.model.tracker_model.config
        self.reach = max(tracker.num_maskmem, tracker.max_object_pointers_in_encoder) - 1
        self.shared = [OnceAFrame(self.model.detector_model.get_vision_features)]
        self.shared += [OnceAFrame(self.model.get_vision_features_for_tracker)]
        self.model.detector_model.get_vision_features, self.model.get_vision_features_for_tracker = self.shared
        self.detected: list[Tensor] = []  # the scores of the last detection
        self.model.detector_model.register_forward_hook(self._note_scores)

    def _note_scores(self, module: torch.nn.Module, inputs: tuple, found: Any) -> None:
        self.detected = [found.pred_logits, found.presence_logits]

    def count_tokens(self, expression: str) -> int:
        """Count the tokens of an expression, start and end included."""
        return self.phrases.count(expression)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize a displayed frame for the model; see `Segmenter.prepare`."""
        return self.pixels.prepare(frame)

    def stats(self) -> SegmenterStats:
        """Return no counters: nothing is halved, nothing compared."""
        return SegmenterStats()

    def segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: Sequence[int] | None = None,
        overlap: Overlap | None = None,
        exclusive: Sequence[int] = (),
    ) -> Iterator[Segmentation]:
        """Yield the masks of each expression; see `Segmenter.segment`. All go through the frames together."""
        if overlap is None or exclusive:
            raise ValueError("a model that follows objects needs an overlap, and no groups")
        asked = zip(expressions, overlap.tracks, strict=True)
        states = [track.fork() if isinstance(track, Following) else self._start(text) for text, track in asked]
        end = overlap.start + len(frames)
        for state in states:
            state.session.total = end  # of a video with more windows, enough: see `lookahead_of`
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            self._see(frames, overlap.start, states)
        kept = [overlap.start + position for position in (range(len(frames)) if keep is None else keep)]
        for state in states:
            yield self._answer(state, [place for place in kept if place < overlap.final], overlap.final, end, size)

    def _start(self, expression: str) -> Following:
        return Following(ConceptSession(self.device, expression, *self.phrases.encode(expression, self.device)))

    def _see(self, frames: Sequence[np.ndarray], start: int, states: list[Following]) -> None:
        """Take the sessions through the frames that they have not seen."""
        for place, frame in enumerate(frames, start):
            new = [state for state in states if state.next <= place]
            if not new:
                continue
            for shared in self.shared:  # also where memory was full in the middle of a frame
                shared.forget()
            pixels = self.pixels.normalise(frame, self.device)
            for state in new:
                self._step(state, place, pixels)
        for shared in self.shared:
            shared.forget()

    def _step(self, state: Following, place: int, pixels: Tensor) -> None:
        """Show one frame to the session of one expression."""
        session, pending = state.session, state.pending
        session.current = pixels
        found = self.model(inference_session=session, frame_idx=place)
        seen = Instances.of(found, session.obj_first_frame_idx, self.cut)
        # A detector that is not finite finds nothing: no score is above its threshold.
        state.finite &= all(bool(tensor.isfinite().all()) for tensor in (*self.detected, seen.masks))
        pending.frames[place] = seen
        pending.removed |= found.removed_obj_ids or set()
        session.forget(found, self.reach, self.model.hotstart_unmatch_thresh, self.model.hotstart_delay)
        session.cache.clear_all()
        state.next = place + 1

    def _answer(self, state: Following, wanted: list[int], final: int, end: int, size: tuple[int, int]) -> Segmentation:
        """Return the masks of the frames at the positions `wanted`, and forget those before `final`."""
        pending = state.pending
        masks = np.zeros((len(wanted), size[1], size[0]), bool)  # column by column, as run lengths are counted
        scores, boxes = np.zeros(len(wanted), np.float32), np.zeros((len(wanted), 4), np.float32)
        numbers = {place: number for number, place in enumerate(wanted)}
        visible = {place: seen.visible(pending.removed) for place, seen in pending.frames.items()}
        for place in sorted(place for place in visible if place < final):
            shown = visible[place]
            if self.answer == "best":
                last = min(end, place + self.lookahead + 1)
                chosen = pending.choice.update(shown, [visible[other] for other in range(place, last)])
                shown = {} if chosen is None else {chosen: shown[chosen]}
            seen = pending.frames.pop(place)
            if shown and place in numbers:
                number = numbers[place]
                masks[number] = self._displayed(seen, list(shown), size)
                boxes[number] = box_of(masks[number].T)
                scores[number] = max(shown.values()) if masks[number].any() else 0.0
        remembered = {number for seen in pending.frames.values() for number in seen.numbers}
        pending.removed &= remembered
        return Segmentation(
            masks.transpose(0, 2, 1),
            scores,
            boxes,
            query=pending.choice.number,
            margin=pending.choice.margin,
            finite=state.finite,
            track=state,
            follows=True,
        )

    def _displayed(self, seen: Instances, shown: list[int], size: tuple[int, int]) -> np.ndarray:
        """Return the union of the masks of some instances, bool [W, H]."""
        logits = seen.masks[[seen.numbers.index(number) for number in shown]]
        displayed = F.interpolate(logits[:, None].to(self.device), size, mode="bilinear")[:, 0] > self.cut
        return displayed.any(0).T.contiguous().cpu().numpy()


def lookahead_of(config: Any) -> int:
    """Return how many later frames are seen before a frame is answered.

    A new instance may be taken back in its first `hotstart_delay` frames. Besides, the tracker asks whether the video
    has fewer frames than it takes pointers of objects: the first window must tell.
    """
    return max(config.hotstart_delay, config.tracker_config.max_object_pointers_in_encoder) - 1
