"""The door to the model: prepared frames and sentences in, masks at the video's displayed size out.

One call sees one window of frames. What needs no sentence is computed once per window, each distinct sentence is
encoded once, as many as memory allows go through the rest together, and masks are made for the chosen query only. The
rules (resize, query choice, threshold) are those of the published inference scripts; what windows that share frames do
besides is in model/referformer/inference/linking.py.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from model.memory import BatchSizer
from model.referformer.inference.linking import (
    OverlapAverage,
    Track,
    agreement_in_place,
    link_query,
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

PIXELS_AT_ONCE = 2**24  # of upsampled logits, at least one frame: 64 MiB
SENTENCES_KEPT = 1024
MAX_INPUT_PIXELS = 2**22  # of one prepared frame
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Overlap:
    """Where a window lies in its video if windows share frames. Places count the frames of the sequence from 0."""

    start: int  # place of the window's first frame
    final: int  # later windows see no frame before this place
    tracks: Sequence[Track | None]  # of each expression, as its last window left it; None for its first


@dataclass(frozen=True)
class Segmentation:
    """The answer to one sentence in one window; K kept frames."""

    masks: np.ndarray  # bool [K, H, W]; each frame lies column by column in memory, as run lengths are counted
    scores: np.ndarray  # float32 [K], probability of the chosen query's best class in each frame
    boxes: np.ndarray  # float32 [K, 4], x, y, w, h in pixels of the displayed frame
    query: int  # chosen for the whole window
    margin: float | None  # of its score in the window over the best other query's; None if there is no other
    finite: bool  # False: the model's numbers overflowed or are not numbers, the answer is worth nothing
    track: Track | None = None  # with an Overlap: for the next window


@dataclass(frozen=True)
class SegmenterStats:
    """What there is to tell of calls besides their answers."""

    halvings: int = 0  # how often memory was full, and less has been computed at once since
    parity: float | None = None  # share of the masks' pixels that differed from plain float32, where it was compared


def windows(num_frames: int, window: int | None) -> list[range]:
    """Consecutive windows of `window` frames, the last one shorter; one window of everything for None."""
    if window is not None and window < 1:
        raise ValueError(f"a window must hold at least 1 frame, got {window}")
    step = num_frames if window is None else window
    return [range(start, min(start + step, num_frames)) for start in range(0, num_frames, max(step, 1))]


class Segmenter:
    """A model ready to answer. Not for use by several threads at once, except `prepare` and `count_tokens`."""

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
        """device: "auto" takes CUDA if there is any; threshold: a pixel belongs to the object above it, in (0, 1);
        precision: a key of PRECISIONS, what matrix products and convolutions are computed in (autocast)."""
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        self.device = _device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.short_side, self.max_size = short_side, max_size
        self.cut = math.log(threshold / (1 - threshold))  # sigmoid(x) > threshold is x > cut
        self.type = PRECISIONS[precision]
        self.room = BatchSizer(self.device)
        self._text_features = lru_cache(maxsize=SENTENCES_KEPT)(self._encode_text)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """One displayed frame, uint8 [H, W, 3] RGB, resized for the model: uint8 [h, w, 3].

        Raises ValueError, before memory is taken, if that would be too large or too small for the model.
        """
        height, width = resized_size(frame.shape[0], frame.shape[1], self.short_side, self.max_size)
        smallest = smallest_side(self.model.config.backbone.stride)
        if min(height, width) < smallest or height * width > MAX_INPUT_PIXELS:
            raise ValueError(
                f"a frame of {frame.shape[1]}x{frame.shape[0]} becomes {width}x{height} for the model, which takes "
                f"at least {smallest} pixels a side and at most {MAX_INPUT_PIXELS} in all"
            )
        return resize(frame, self.short_side, self.max_size)

    def count_tokens(self, expression: str) -> int:
        """Tokens of a sentence, start and end included; the model takes up to `max_tokens`."""
        return self.tokenizer.count(expression)

    def stats(self) -> SegmenterStats:
        """On all calls since the last time. Raises FastModeError (GuardedSegmenter only)."""
        halvings, self.room.halvings = self.room.halvings, 0
        return SegmenterStats(halvings=halvings)

    @property
    def max_tokens(self) -> int:
        """Longest sentence that the text encoder takes, in tokens."""
        return self.model.config.text.max_tokens

    def segment(
        self,
        frames: Sequence[np.ndarray],
        size: tuple[int, int],
        expressions: Sequence[str],
        keep: Sequence[int] | None = None,
        overlap: Overlap | None = None,
    ) -> Iterator[Segmentation]:
        """One answer per expression, in order, each computed when it is asked for.

        frames: one window, each as `prepare` made it; size: height and width of the displayed video; keep:
        positions in the window whose masks are wanted, all if None. The other frames are context: they take part
        in the model and in the choice of the query. Keeping one frame of several is the A2D way: only the
        backbone sees the context. Raises ValueError for frames that do not fit together or are too small.

        overlap: for windows that share frames. Each sentence is then followed through them by its track (the query is
        that of `link_query`), and an answer holds those kept frames only that no later window sees, ready: the mean of
        the mask logits, scores and boxes of all windows that saw them (`OverlapAverage`). The others are in `track`.
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
        places = keep if single else range(len(frames))
        video = self._encode_video(frames, keep[0] if single else None) if expressions else None
        done = 0
        while video is not None and done < len(expressions):
            decoding, count = self._decode(video, expressions[done:], (len(places), *frames[0].shape[:2]))
            for number in range(done, done + count):
                one = decoding.of(number - done)
                if overlap is None:
                    yield self._answer(one, size, [0] if single else keep)
                else:
                    seen = [overlap.start + position for position in places]
                    final = [overlap.start + position for position in keep if overlap.start + position < overlap.final]
                    yield self._follow(one, size, seen, final, overlap.final, overlap.tracks[number])
            done += count

    def _encode_video(self, frames: Sequence[np.ndarray], only: int | None) -> VideoFeatures:
        pixels = torch.from_numpy(np.stack(frames)).to(self.device)
        chosen = None if only is None else torch.tensor([only], device=self.device)

        def encode(_: int, frames_at_once: int | None) -> VideoFeatures:
            self.model.frames_at_once = frames_at_once
            with self._computing():
                return self.model.encode_video(normalize(pixels)[None], valid_indices=chosen)

        return self.room.fit(encode, pixels.shape[:3].numel(), len(frames))

    def _encode_text(self, expression: str) -> TextFeatures:
        with self._computing():
            return self.model.encode_text(self.tokenizer([expression]).to(self.device))

    def _decode(self, video: VideoFeatures, expressions: Sequence[str], shape: tuple[int, ...]) -> tuple[Decoding, int]:
        """The first of the expressions, as many as there is room for, and how many these are; shape: T, h, w."""

        def decode(sentences: int, frames_at_once: int | None) -> tuple[Decoding, int]:
            text = TextFeatures.stack([self._text_features(expression) for expression in expressions[:sentences]])
            self.model.frames_at_once = frames_at_once
            with self._computing():
                return self.model.decode(video, text), sentences

        return self.room.fit(decode, math.prod(shape), shape[0], len(expressions))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        reduced = self.type != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.type, enabled=reduced):
            yield

    @torch.inference_mode()
    def _answer(self, decoding: Decoding, size: tuple[int, int], keep: list[int]) -> Segmentation:
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        query = choose_query(logits)
        with self._computing():
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
        wanted: list[int],
        final: int,
        track: Track | None,
    ) -> Segmentation:
        """As `_answer`, in a window that shares frames: `seen` are the places of all its frames, `wanted` of those to
        answer for, which all lie before `final`."""
        logits, boxes = decoding.logits[-1][0].float(), decoding.boxes[-1][0].float()
        looks = query_embeddings(decoding.hidden[-1], logits)
        query = self._link(decoding, looks, seen, track) if track else choose_query(logits)
        with self._computing():
            masks = self.model.masks(decoding, query=query)[0, :, 0]
        look = update_appearance(track and track.look, looks[query].cpu(), query_scores(logits)[query].item())
        blend = OverlapAverage.of_window(seen, masks, logits[:, query].sigmoid().amax(-1), boxes[:, query])
        if track:
            blend = blend.add(track.seam)
        answer, waiting = blend.at(wanted), blend.since(final).to("cpu")
        if track:  # a part of a window: the rest of it comes next
            waiting = waiting.join(track.seam.since(seen[-1] + 1))
        return Segmentation(
            masks=self._binary(answer.logits, size),
            scores=answer.scores.cpu().numpy(),
            boxes=displayed_boxes(answer.boxes, size).cpu().numpy(),
            query=query,
            margin=query_margin(logits, query),
            finite=all(bool(x.isfinite().all()) for x in (logits, boxes, masks)),
            track=Track(look, waiting),
        )

    def _link(self, decoding: Decoding, looks: Tensor, seen: list[int], track: Track) -> int:
        """The query that goes on with a track; the masks of the others are made for the shared frames only."""
        logits = decoding.logits[-1][0]
        if logits.shape[1] == 1:
            return 0
        shared = [place for place in track.seam.places if place in seen]
        in_place = None
        if shared:
            frames = torch.tensor([seen.index(place) for place in shared], device=logits.device)
            with self._computing():
                masks = self.model.masks(_only(decoding, frames))[0]
            before = track.seam.at(shared).to(logits.device)
            in_place = agreement_in_place(before, masks, sure=float(track.look.norm()))
        return link_query(logits, looks, track.look.to(logits.device), in_place)

    def _binary(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        """[K, h, w] -> bool [K, H, W], a few frames at a time: large frames are never all in floating point."""
        height, width = size
        columns = np.empty((len(logits), width, height), dtype=bool)
        step = max(1, PIXELS_AT_ONCE // (height * width))
        for start in range(0, len(logits), step):
            inside = resize_logits(logits[start : start + step].float(), size) > self.cut
            columns[start : start + step] = inside.transpose(1, 2).contiguous().cpu().numpy()
        return columns.transpose(0, 2, 1)


def _only(decoding: Decoding, frames: Tensor) -> Decoding:
    """The last layer of one clip's decoding in some of its frames."""
    return replace(
        decoding,
        hidden=[decoding.hidden[-1][frames]],
        logits=[decoding.logits[-1][:, frames]],
        boxes=[decoding.boxes[-1][:, frames]],
        start=decoding.start[:, frames],
        pixels=decoding.pixels[frames],
    )


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda") and not available:
        raise ValueError(f'device "{name}" was asked for, but torch finds no CUDA device; use "cpu" or "auto"')
    return torch.device(name)
