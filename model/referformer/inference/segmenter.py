"""ReferFormer behind the interface of `model.segmenter`.

One call sees one window of frames. Features that need no sentence are computed once per window, each distinct sentence
is encoded once, as many sentences as memory allows go through the decoder together, and masks are made for the chosen
query only, unless the rules ask for all. Resizing, query choice and threshold follow the published inference scripts.
`network_calls` runs the network, `displayed_masks` makes masks of logits, and `linking` adds what windows that share
frames need.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.boxes import main_boxes_of
from model.device import find_device
from model.referformer.inference.displayed_masks import binary_masks, exclusive_masks, nearest_masks
from model.referformer.inference.linking import (
    OverlapAverage,
    TrackState,
    link_query,
    mask_agreement,
    query_embeddings,
    update_appearance,
)
from model.referformer.inference.network_calls import NetworkCalls
from model.referformer.inference.postprocess import (
    choose_query,
    displayed_boxes,
    query_margin,
    query_scores,
)
from model.referformer.inference.preprocess import resize, resized_size
from model.referformer.network.pixel_decoder import smallest_side
from model.referformer.network.referformer import Decoding, ReferFormer
from model.referformer.tokenizer import Tokenizer
from model.segmenter import InferenceRules, Overlap, Segmentation, SegmenterStats

MAX_INPUT_PIXELS = 2**22  # of one prepared frame
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEFAULT_RULES = InferenceRules()


class Answer(NamedTuple):
    """An answer whose mask logits are not masks yet."""

    logits: Tensor  # [K, h, w]
    complete: Callable[..., Segmentation]  # takes `masks`
    others: tuple["Answer", ...] = ()  # the other candidates


class ReferFormerSegmenter:
    """A `Segmenter` that runs ReferFormer; not thread-safe, except `prepare` and `count_tokens`."""

    lookahead = None

    def __init__(
        self,
        model: ReferFormer,
        tokenizer: Tokenizer,
        *,
        device: str = "auto",
        short_side: int = 360,
        max_size: int | None = None,
        threshold: float = 0.5,
        precision: str = "fp32",
        rules: InferenceRules = DEFAULT_RULES,
        no_target_below: float | None = None,
    ) -> None:
        """Take the arguments of `model.families.load_segmenter`; `precision` is a key of PRECISIONS, for autocast.

        Raises ValueError for a threshold outside (0, 1), an unknown device or precision, CUDA without a GPU, and
        `no_target_below` for a model without a quality head.
        """
        quality = model.config.quality
        if no_target_below is not None and quality is None:
            raise ValueError("no_target_below needs a checkpoint with a quality head; this one has none")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
        on = find_device(device)
        self.model = model.to(on).eval()
        self.network = NetworkCalls(self.model, tokenizer, on, PRECISIONS[precision], rules)
        self.short_side, self.max_size = short_side, max_size
        self.threshold, self.rules = threshold, rules
        default = quality.no_target_below if quality else 0.0
        self.no_target_below = default if no_target_below is None else no_target_below

    @property
    def max_tokens(self) -> int:
        """Length of the longest sentence that the text encoder takes."""
        return self.model.config.text.max_tokens

    def count_tokens(self, expression: str) -> int:
        """Count the tokens of a sentence, start and end included."""
        return self.network.count_tokens(expression)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize a displayed frame for the model; see `Segmenter.prepare`."""
        height, width = resized_size(frame.shape[0], frame.shape[1], self.short_side, self.max_size)
        smallest = smallest_side(self.model.config.backbone.stride)
        if min(height, width) < smallest or height * width > MAX_INPUT_PIXELS:
            raise ValueError(
                f"a frame of {frame.shape[1]}x{frame.shape[0]} becomes {width}x{height} for the model, which takes "
                f"at least {smallest} pixels a side and at most {MAX_INPUT_PIXELS} in all"
            )
        return resize(frame, self.short_side, self.max_size)

    def stats(self) -> SegmenterStats:
        """Return the counters since the last call. Raises FastModeError (`GuardedSegmenter` only)."""
        sizer = self.network.batch_sizer
        halvings, sizer.halvings = sizer.halvings, 0
        return SegmenterStats(halvings=halvings)

    def segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: Sequence[int] | None = None,
        overlap: Overlap | None = None,
        exclusive: Sequence[int] = (),
    ) -> Iterator[Segmentation]:
        """Yield one answer per expression; see `Segmenter.segment`.

        Context frames take part in the model and in the choice of the query. Keeping one frame of several is the A2D
        way: only the backbone sees the context. With an `overlap`, `link_query` follows each sentence's object through
        the windows, and an answer is the mean of the mask logits, scores and boxes of all windows that saw the frame
        (`OverlapAverage`).
        """
        if not frames or len({frame.shape for frame in frames}) > 1:
            raise ValueError(f"a window needs frames of one size, got {sorted({frame.shape for frame in frames})}")
        keep = list(range(len(frames)) if keep is None else keep)
        if not keep or not all(0 <= position < len(frames) for position in keep):
            raise ValueError(f"keep must name positions among {len(frames)} frames, got {keep}")
        if self.rules.all_candidates and (overlap or exclusive):
            raise ValueError("with all candidates, windows cannot share frames, and masks cannot exclude each other")
        return self._segment(frames, size, expressions, keep, overlap, exclusive)

    def _segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: list[int],
        overlap: Overlap | None,
        exclusive: Sequence[int],
    ) -> Iterator[Segmentation]:
        answers = self._answers(frames, size, expressions, keep, overlap)
        if not exclusive:
            yield from (self._complete(answer, frames[0].shape[:2], size) for answer in answers)
        for count in exclusive:
            group = list(islice(answers, count))
            masks = exclusive_masks([answer.logits for answer in group], size, self.threshold)
            yield from (self._with_masks(answer, mask) for answer, mask in zip(group, masks, strict=True))

    def _complete(self, answer: Answer, input_size: tuple[int, int], size: tuple[int, int]) -> Segmentation:
        if self.rules.nearest:
            masks = nearest_masks(answer.logits, input_size, size, self.threshold)
        else:
            masks = binary_masks(answer.logits, size, self.threshold)
        found = self._with_masks(answer, masks)
        others = tuple(self._complete(other, input_size, size) for other in answer.others)
        return replace(found, others=others) if others else found

    def _with_masks(self, answer: Answer, masks: np.ndarray) -> Segmentation:
        found = answer.complete(masks=masks)
        return replace(found, boxes=main_boxes_of(masks)) if self.model.config.mask_boxes else found

    def _answers(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: list[int],
        overlap: Overlap | None,
    ) -> Iterator[Answer]:
        """Yield the answers one by one; the next sentences are decoded when they are asked for."""
        single = len(keep) == 1 and len(frames) > 1
        decoded = keep if single else range(len(frames))  # positions in the window
        video = self.network.encode_video(frames, keep[0] if single else None) if expressions else None
        done = 0
        while video is not None and done < len(expressions):
            decoding, count = self.network.decode(video, expressions[done:], (len(decoded), *frames[0].shape[:2]))
            for number in range(count):
                clip = decoding.of(number)
                if overlap is None:
                    chosen, *others = self._candidates(clip, size, [0] if single else keep)
                    yield chosen._replace(others=tuple(others))
                else:
                    seen = [overlap.start + position for position in decoded]
                    complete = [overlap.start + i for i in keep if overlap.start + i < overlap.final]
                    track = overlap.tracks[done + number]
                    assert track is None or isinstance(track, TrackState)
                    yield self._follow(clip, size, seen, complete, overlap.final, track)
            done += count

    def _candidates(self, decoding: Decoding, size: tuple[int, int], keep: list[int]) -> Iterator[Answer]:
        """The chosen query's answer and, if the rules ask for them, those of all other queries."""
        logits = decoding.logits[-1][0].float()
        chosen = choose_query(logits)
        others = [query for query in range(logits.shape[1]) if query != chosen]
        for query in [chosen, *(others if self.rules.all_candidates else [])]:
            yield self._answer(decoding, size, keep, query)

    @torch.inference_mode()
    def _answer(self, decoding: Decoding, size: tuple[int, int], keep: list[int], query: int) -> Answer:
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        with self.network.autocast():
            masks = self.model.masks(decoding, query=query)[0, keep, 0]
        found = partial(
            Segmentation,
            scores=logits[keep, query].sigmoid().amax(-1).cpu().numpy(),
            boxes=displayed_boxes(boxes[keep, query], size).cpu().numpy(),
            query=query,
            margin=query_margin(logits, query),
            finite=all(bool(x.isfinite().all()) for x in (logits, boxes, masks)),
            **self._rating(decoding, masks, keep),
        )
        return Answer(masks, found)

    @torch.inference_mode()
    def _follow(
        self,
        decoding: Decoding,
        size: tuple[int, int],
        seen: list[int],
        complete: list[int],
        final: int,
        track: TrackState | None,
    ) -> Answer:
        """Answer as `_answer` in a window that shares frames.

        seen: positions in the video of all frames of the window; complete: those to answer for, all before `final`.
        """
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        embeddings = query_embeddings(decoding.hidden[-1], logits)
        query = self._link(decoding, embeddings, seen, track) if track else choose_query(logits)
        with self.network.autocast():
            masks = self.model.masks(decoding, query=query)[0, :, 0]
        appearance = update_appearance(
            track and track.appearance, embeddings[query].cpu(), query_scores(logits)[query].item()
        )
        average = OverlapAverage.of_window(seen, masks, logits[:, query].sigmoid().amax(-1), boxes[:, query])
        if track:
            average = average.add(track.overlap)
        answer, waiting = average.at(complete), average.since(final).to("cpu")
        if track:  # frames after a part of a window belong to its other part, which comes next
            waiting = waiting.join(track.overlap.since(seen[-1] + 1))
        found = partial(
            Segmentation,
            scores=answer.scores.cpu().numpy(),
            boxes=displayed_boxes(answer.boxes, size).cpu().numpy(),
            query=query,
            margin=query_margin(logits, query),
            finite=all(bool(x.isfinite().all()) for x in (logits, boxes, masks)),
            track=TrackState(appearance, waiting),
            **self._rating(decoding, masks, range(len(seen))),
        )
        return Answer(answer.logits, found)

    def _rating(self, decoding: Decoding, masks: Tensor, frames: Sequence[int]) -> dict[str, float]:
        """Return `presence` and `quality` of masks, logits [K, h, w], of K frames; nothing without a quality head."""
        rating = self.model.rate(replace(decoding, pixels=decoding.pixels[list(frames)]), masks[None])
        if rating is None:
            return {}
        return {"presence": rating.presence.sigmoid().item(), "quality": rating.quality().item()}

    def _link(self, decoding: Decoding, embeddings: Tensor, seen: list[int], track: TrackState) -> int:
        """Choose the query that continues a track. The other queries get masks in the shared frames only."""
        logits = decoding.logits[-1][0]
        if logits.shape[1] == 1:
            return 0
        shared = [position for position in track.overlap.positions if position in seen]
        agreement = None
        if shared:
            frames = torch.tensor([seen.index(position) for position in shared], device=logits.device)
            last_layer = replace(
                decoding,
                hidden=[decoding.hidden[-1][frames]],
                logits=[decoding.logits[-1][:, frames]],
                boxes=[decoding.boxes[-1][:, frames]],
                start=decoding.start[:, frames],
                pixels=decoding.pixels[frames],
            )
            with self.network.autocast():
                masks = self.model.masks(last_layer)[0]
            before = track.overlap.at(shared).to(logits.device)
            agreement = mask_agreement(before, masks, confidence=float(track.appearance.norm()))
        return link_query(logits, embeddings, track.appearance.to(logits.device), agreement)
