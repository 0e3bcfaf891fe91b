"""ReferFormer behind the interface of `model.segmenter`.

One call sees one window of frames. Features that need no sentence are computed once per window, each distinct sentence
is encoded once, as many sentences as memory allows go through the decoder together, and masks are made for the chosen
query only. Resizing, query choice and threshold follow the published inference scripts; `linking` adds what windows
that share frames need.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from model.memory import BatchSizer
from model.referformer.inference.linking import (
    OverlapAverage,
    TrackState,
    link_query,
    mask_agreement,
    query_embeddings,
    update_appearance,
)
from model.referformer.inference.postprocess import (
    choose_query,
    displayed_boxes,
    query_margin,
    query_scores,
    resize_logits,
)
from model.referformer.inference.preprocess import normalize, resize, resized_size
from model.referformer.network.pixel_decoder import smallest_side
from model.referformer.network.referformer import Decoding, ReferFormer, VideoFeatures
from model.referformer.network.text_encoder import TextFeatures
from model.referformer.tokenizer import Tokenizer
from model.segmenter import Overlap, Segmentation, SegmenterStats

UPSAMPLED_PIXELS = 2**24  # of float32 logits at the displayed size held at once (64 MiB), at least one frame
CACHED_SENTENCES = 1024
MAX_INPUT_PIXELS = 2**22  # of one prepared frame
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ReferFormerSegmenter:
    """A `Segmenter` that runs ReferFormer; not thread-safe, except `prepare` and `count_tokens`."""

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
    ) -> None:
        """Take the arguments of `model.families.load_segmenter`; `precision` is a key of PRECISIONS, for autocast.

        Raises ValueError for a threshold outside (0, 1), an unknown device or precision, and CUDA without a GPU.
        """
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
        if device.partition(":")[0] not in ("auto", "cpu", "cuda"):
            raise ValueError(f'unknown device {device!r}; choose from "auto", "cpu" and "cuda"')
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f'torch finds no CUDA device for device "{device}"; use "cpu" or "auto"')
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.short_side, self.max_size = short_side, max_size
        self.logit_threshold = math.log(threshold / (1 - threshold))  # sigmoid(x) > threshold is x > logit_threshold
        self.dtype = PRECISIONS[precision]
        self.batch_sizer = BatchSizer(self.device)
        self._text_features = lru_cache(maxsize=CACHED_SENTENCES)(self._encode_text)

    @property
    def max_tokens(self) -> int:
        """Length of the longest sentence that the text encoder takes."""
        return self.model.config.text.max_tokens

    def count_tokens(self, expression: str) -> int:
        """Count the tokens of a sentence, start and end included."""
        return self.tokenizer.count(expression)

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
        halvings, self.batch_sizer.halvings = self.batch_sizer.halvings, 0
        return SegmenterStats(halvings=halvings)

    def segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: Sequence[int] | None = None,
        overlap: Overlap | None = None,
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
        return self._segment(frames, size, expressions, keep, overlap)

    def _segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: list[int],
        overlap: Overlap | None,
    ) -> Iterator[Segmentation]:
        single = len(keep) == 1 and len(frames) > 1
        decoded = keep if single else range(len(frames))  # positions in the window
        video = self._encode_video(frames, keep[0] if single else None) if expressions else None
        done = 0
        while video is not None and done < len(expressions):
            decoding, count = self._decode(video, expressions[done:], (len(decoded), *frames[0].shape[:2]))
            for number in range(count):
                clip = decoding.of(number)
                if overlap is None:
                    yield self._answer(clip, size, [0] if single else keep)
                else:
                    seen = [overlap.start + position for position in decoded]
                    complete = [overlap.start + i for i in keep if overlap.start + i < overlap.final]
                    track = overlap.tracks[done + number]
                    assert track is None or isinstance(track, TrackState)
                    yield self._follow(clip, size, seen, complete, overlap.final, track)
            done += count

    def _encode_video(self, frames: Sequence[np.ndarray], only: int | None) -> VideoFeatures:
        pixels = torch.from_numpy(np.stack(frames)).to(self.device)
        chosen = None if only is None else torch.tensor([only], device=self.device)

        def encode(_: int, frames_at_once: int | None) -> VideoFeatures:
            self.model.frames_at_once = frames_at_once
            with self._autocast():
                return self.model.encode_video(normalize(pixels)[None], valid_indices=chosen)

        return self.batch_sizer.run(encode, pixels.shape[:3].numel(), len(frames))

    def _encode_text(self, expression: str) -> TextFeatures:
        with self._autocast():
            return self.model.encode_text(self.tokenizer([expression]).to(self.device))

    def _decode(self, video: VideoFeatures, expressions: Sequence[str], shape: tuple[int, ...]) -> tuple[Decoding, int]:
        """Decode as many of the expressions as memory allows, first ones first; shape: T, h, w. Returns their number
        too."""

        def decode(sentences: int, frames_at_once: int | None) -> tuple[Decoding, int]:
            text = TextFeatures.stack([self._text_features(expression) for expression in expressions[:sentences]])
            self.model.frames_at_once = frames_at_once
            with self._autocast():
                return self.model.decode(video, text), sentences

        return self.batch_sizer.run(decode, math.prod(shape), shape[0], len(expressions))

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        reduced = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=reduced):
            yield

    @torch.inference_mode()
    def _answer(self, decoding: Decoding, size: tuple[int, int], keep: list[int]) -> Segmentation:
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        query = choose_query(logits)
        with self._autocast():
            masks = self.model.masks(decoding, query=query)[0, keep, 0]
        return Segmentation(
            masks=self._binary(masks, size),
            scores=logits[keep, query].sigmoid().amax(-1).cpu().numpy(),
            boxes=displayed_boxes(boxes[keep, query], size).cpu().numpy(),
            query=query,
            margin=query_margin(logits, query),
            finite=all(bool(x.isfinite().all()) for x in (logits, boxes, masks)),
        )

    @torch.inference_mode()
    def _follow(
        self,
        decoding: Decoding,
        size: tuple[int, int],
        seen: list[int],
        complete: list[int],
        final: int,
        track: TrackState | None,
    ) -> Segmentation:
        """Answer as `_answer` in a window that shares frames.

        seen: positions in the video of all frames of the window; complete: those to answer for, all before `final`.
        """
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        embeddings = query_embeddings(decoding.hidden[-1], logits)
        query = self._link(decoding, embeddings, seen, track) if track else choose_query(logits)
        with self._autocast():
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
        return Segmentation(
            masks=self._binary(answer.logits, size),
            scores=answer.scores.cpu().numpy(),
            boxes=displayed_boxes(answer.boxes, size).cpu().numpy(),
            query=query,
            margin=query_margin(logits, query),
            finite=all(bool(x.isfinite().all()) for x in (logits, boxes, masks)),
            track=TrackState(appearance, waiting),
        )

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
            with self._autocast():
                masks = self.model.masks(last_layer)[0]
            before = track.overlap.at(shared).to(logits.device)
            agreement = mask_agreement(before, masks, confidence=float(track.appearance.norm()))
        return link_query(logits, embeddings, track.appearance.to(logits.device), agreement)

    def _binary(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Upsample and threshold logits [K, h, w] -> bool [K, H, W], a few frames at a time to save memory."""
        height, width = size
        columns = np.empty((len(logits), width, height), dtype=bool)
        step = max(1, UPSAMPLED_PIXELS // (height * width))
        for start in range(0, len(logits), step):
            inside = resize_logits(logits[start : start + step].float(), size) > self.logit_threshold
            columns[start : start + step] = inside.transpose(1, 2).contiguous().cpu().numpy()
        return columns.transpose(0, 2, 1)
