"""SAM 2 and the tracker of SAM 3 behind the interface of `model.segmenter`: masks of another run in, finer masks out.

The surest frame of a pair's masks prompts the model, which follows the object forward from there, and then backward to
the start of the window. Later windows only go forward, with the memory that the last one left. In the first window
this equals transformers' loop over the whole video (`propagate_in_video_iterator`, then `reverse=True`) bit for bit. In
the frame of a mask prompt that loop returns the mask at a quarter of the input's side; where nothing of it is left, or
nothing at the input's side, it is written as it was given.
Each pair has a session of its own, since objects in one session share limits; pairs share the image features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.boxes import box_of, boxes_of
from model.sam.pixels import Pixels
from model.sam.session import OBJECT, StreamedFrames
from model.segmenter import Overlap, Refining, Segmentation, SegmenterStats, SourceMasks

PAIRS_AT_ONCE = 16  # that go through the frames together; more take memory, and save little
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}  # memories are bf16, which fp16 cannot join
LOST_FRAMES = 8  # after so many frames without the object, of which the given masks are sure, these prompt again
SURE = 0.5  # given masks are sure from this share of the first prompt's score on


@dataclass
class Track:
    """The state of one pair between two windows."""

    session: StreamedFrames
    score: float  # of the mask that prompted last
    margin: float | None  # of that mask
    sure: float  # given masks with this score are sure
    lost: int = 0  # frames in a row without the object, of which the given masks were sure


@dataclass
class Following:
    """One pair on its way through a window."""

    source: SourceMasks
    kept: Sequence[int]
    track: Track | None  # None: it has no mask up to here
    anchor: int = -1  # position of the first prompt in this window; -1: the object comes from the window before
    logits: dict[int, Tensor] = field(default_factory=dict)  # position -> [1, 1, h, w]
    scores: dict[int, float] = field(default_factory=dict)
    given: list[int] = field(default_factory=list)  # kept positions whose mask prompted the model, as it was
    thin: set[int] = field(default_factory=set)  # positions whose mask vanished as a prompt
    finite: list[Tensor] = field(default_factory=list)

    def is_sure(self, position: int) -> bool:
        """True if the given mask of a frame may prompt the model again."""
        least = self.track.sure if self.track else 0.0
        return bool(self.source.areas[position] and self.source.scores[position] >= least)


class Propagator:
    """A `Segmenter` that refines masks; not thread-safe, except `prepare` and `count_tokens`."""

    lookahead = 0
    max_tokens = 0  # it reads no sentences

    def __init__(
        self,
        model: torch.nn.Module,
        session_type: type,
        pixels: Pixels,
        *,
        device: torch.device,
        precision: str = "fp32",
        refining: Refining,
    ) -> None:
        """Take a `Sam2VideoModel` or `Sam3TrackerVideoModel` and its type of session.

        Raises ValueError for an unknown precision or prompt.
        """
        if precision not in PRECISIONS or refining.prompt not in ("mask", "box"):
            raise ValueError(f"unknown precision {precision!r} or prompt {refining.prompt!r}")
        self.model = model.to(device).eval()
        self.session_type, self.pixels = session_type, pixels
        self.device, self.dtype, self.refining = device, PRECISIONS[precision], refining
        config: Any = model.config
        self.memory = max(config.num_maskmem, config.max_object_pointers_in_encoder) - 1  # frames that a step reads

    def count_tokens(self, expression: str) -> int:
        """Return 0: sentences are not read."""
        return 0

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
        """Yield the refined masks of each pair; see `Segmenter.segment`.

        `overlap.sources` are the masks to refine. Without, as for a picture that only shows whether the model runs,
        the whole frame is the object.
        """
        if overlap is None or exclusive or overlap.final != overlap.start + len(frames):
            raise ValueError("a model that refines masks needs an overlap that ends with the window, and no groups")
        kept = range(len(frames)) if keep is None else keep
        sources = overlap.sources or [_whole_frames(len(frames), size)] * len(expressions)
        asked = list(zip(sources, overlap.tracks, strict=True))
        for first in range(0, len(asked), PAIRS_AT_ONCE):
            pairs = asked[first : first + PAIRS_AT_ONCE]
            together = [self._start(source, track, kept, overlap) for source, track in pairs]
            with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
                self._follow(frames, overlap.start, [pair for pair in together if pair.track])
            for pair in together:
                yield self._answer(pair, size)

    def _start(self, source: SourceMasks, track: object | None, kept: Sequence[int], overlap: Overlap) -> Following:
        if isinstance(track, Track):
            pair = Following(source, kept, replace(track, session=track.session.fork()))
        elif (anchor := source.surest) is None:
            return Following(source, kept, None)
        else:
            session = self.session_type(
                dtype=torch.float32, inference_device=self.device, inference_state_device=self.device
            )
            session.obj_id_to_idx(OBJECT)
            score = float(source.scores[anchor])
            pair = Following(source, kept, Track(session, score, source.margins[anchor], SURE * score), anchor)
        assert pair.track
        pair.track.session.total = overlap.final
        return pair

    def _follow(self, frames: Sequence[np.ndarray], start: int, pairs: list[Following]) -> None:
        """Take the pairs through the window: forward, then back to its start. Features are computed once a frame."""
        sessions = [pair.track.session for pair in pairs if pair.track]
        for session in sessions:
            session.cache = sessions[0].cache  # of one frame
            session.cache.clear_all()
        forward = [(position, False) for position in range(len(frames))]
        for position, back in [*forward, *((position, True) for position, _ in reversed(forward))]:
            moving = [pair for pair in pairs if (position < pair.anchor if back else position >= pair.anchor)]
            if not moving:
                continue
            pixels = self.pixels.normalise(frames[position], self.device)
            for pair in moving:
                self._step(pair, position, start, pixels, back)
        for session in sessions:
            session.cache = type(session.cache)(self.device, self.device)

    def _step(self, pair: Following, position: int, start: int, pixels: Tensor, back: bool) -> None:
        """Follow the object of one pair into one frame."""
        track, frame = pair.track, start + position
        assert track
        session, session.current = track.session, pixels
        is_prompt = position == pair.anchor or (
            pair.anchor < 0 and track.lost >= LOST_FRAMES and pair.is_sure(position)
        )
        if is_prompt:
            self._prompt(pair, session, position, frame)
            track.score, track.margin = float(pair.source.scores[position]), pair.source.margins[position]
        out = self.model(inference_session=session, frame_idx=frame, reverse=back)
        logit, is_given = float(out.object_score_logits), is_prompt and self.refining.prompt == "mask"
        if pair.anchor < 0:
            is_lost = logit < 0 and not is_prompt and pair.is_sure(position)
            track.lost = track.lost + 1 if is_lost else 0
        if position in pair.kept:
            pair.logits[position] = out.pred_masks
            pair.scores[position] = track.score if is_given else track.score / (1 + np.exp(-logit))
            pair.given += [position] * is_given
        read = (out.pred_masks, out.object_score_logits, session.outputs(frame)["object_pointer"])
        pair.finite += [tensor.isfinite().all() for tensor in read]
        end, anchor, reach = session.total, start + pair.anchor, self.memory
        if back:
            session.forget(lambda other: other <= frame + reach or other >= end - reach, frame)
        else:
            session.forget(lambda other: other > frame - reach or anchor <= other <= anchor + reach, frame)

    def _prompt(self, pair: Following, session: StreamedFrames, position: int, frame: int) -> None:
        mask = pair.source.mask(position)
        if self.refining.prompt == "box":
            session.add_point_inputs(0, frame, self.pixels.box_prompt(mask, self.device))
        else:
            prompt, vanishes = self.pixels.mask_prompt(mask, self.device)
            session.add_mask_inputs(0, frame, prompt)
            pair.thin |= {position} if vanishes else set()
        session.obj_with_new_inputs = [OBJECT]

    def _answer(self, pair: Following, size: tuple[int, int]) -> Segmentation:
        masks = np.zeros((len(pair.kept), size[1], size[0]), bool)  # column by column, as run lengths are counted
        scores = np.array([pair.scores.get(position, 0.0) for position in pair.kept], np.float32)
        is_thin = False
        for number, position in enumerate(pair.kept):
            if position in pair.logits:
                displayed = F.interpolate(pair.logits[position].float(), size, mode="bilinear")[0, 0] > 0
                masks[number] = displayed.T.contiguous().cpu().numpy()
            if position in pair.given and (position in pair.thin or not masks[number].any()):
                masks[number], is_thin = pair.source.mask(position).T, True  # thinner than the model draws
        if self.refining.fuse:
            _fuse(masks, pair)
        scores[~masks.any((1, 2))] = 0
        found = masks.transpose(0, 2, 1)
        return Segmentation(
            found,
            scores,
            boxes_of(found),
            query=None,
            margin=pair.track.margin if pair.track else None,
            finite=bool(torch.stack(pair.finite).all()) if pair.finite else True,
            track=pair.track,
            follows=True,
            thin=is_thin,
        )


def _whole_frames(count: int, size: tuple[int, int]) -> SourceMasks:
    area = size[0] * size[1]
    ones = np.ones(count, np.float32)
    return SourceMasks(np.full(count, area), ones, [None] * count, lambda position: np.ones(size, bool))


def _fuse(masks: np.ndarray, pair: Following) -> None:
    """Unite masks, bool [K, W, H], with the given ones if those have several objects, of which they have one.

    Several objects: in more than half of the frames in which both masks are not empty, the box of the given one is at
    least half as large again (rule of ReferDINO-Plus, PVUW 2025).
    """
    given = [pair.source.mask(i) if pair.source.areas[i] else None for i in pair.kept]
    smaller = []
    for mask, other in zip(masks, given, strict=True):
        if other is not None and mask.any():
            (*_, w, h), (*_, width, height) = box_of(mask), box_of(other)
            smaller.append(3 * w * h < 2 * width * height)
    if 2 * sum(smaller) > len(smaller):
        for mask, other in zip(masks, given, strict=True):
            if other is not None:
                mask |= other.T
