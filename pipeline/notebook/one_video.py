"""Segment one video in this process, without Ray and without files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from model.bundled import BUNDLED
from model.errors import CheckpointError
from model.families import load_segmenter
from model.segmenter import Segmenter
from pipeline.drawing.captions import readable
from pipeline.drawing.overlay import contact_sheet, overlay
from pipeline.io.checkpoint import checkpoint_folder
from pipeline.io.recognise import recognise
from pipeline.notebook.arguments import (
    count_of,
    described,
    number_of,
    path_of,
    texts_of,
    uri_of,
    word_of,
    wrong_object,
)
from pipeline.segment.clips import FrameOptions, read_windows, split_rows
from pipeline.segment.events import Answer, ClipDone, ModelEvent
from pipeline.segment.model_stage import ModelStage
from pipeline.segment.write_stage import frame_rows, without_masks
from pipeline.video import Frame, Selection, read_frames
from pipeline.video.types import check_same_size, check_size
from schemas import kinds, rle
from schemas.advice import for_python
from schemas.errors import InputError, MediaError
from schemas.kinds import Kind

SHOWN = 60  # letters of an expression in an error
Video = str | PathLike[str] | np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class VideoMasks:
    """The masks of one expression in T frames of H x W pixels of a video."""

    expression: str
    height: int
    width: int
    frame_indices: list[int] = field(repr=False)  # [T] positions in the video, from 0
    frame_names: list[str] = field(repr=False)  # [T]
    counts: list[bytes] = field(repr=False)  # [T] masks as COCO compressed RLE
    scores: np.ndarray = field(repr=False)  # float32 [T], probability that the object is present in the frame
    boxes: np.ndarray = field(repr=False)  # float32 [T, 4], x, y, w, h in pixels
    video: Video = field(repr=False)  # as it was given; `draw` reads it again

    @classmethod
    def of(cls, expression: str, video: Video, answers: Sequence[dict[str, list]]) -> "VideoMasks":
        """Put the answers of all windows together: the columns of `frame_rows`."""
        rows = {name: [value for answer in answers for value in answer[name]] for name in answers[0]}
        return cls(
            expression,
            rows["height"][0],
            rows["width"][0],
            rows["frame_index"],
            rows["frame_name"],
            rows["counts"],
            np.array(rows["score"], np.float32),
            np.array(rows["box"], np.float32),
            video,
        )

    @property
    def masks(self) -> np.ndarray:
        """All masks, bool [T, H, W]. Each access decodes them again."""
        decoded = np.empty((len(self.counts), self.height, self.width), bool)
        for number, counts in enumerate(self.counts):
            decoded[number] = rle.decode(counts, self.height, self.width)
        return decoded

    def draw(self, frames: int = 5) -> Image.Image:
        """Draw the masks of `frames` frames, spread evenly over the video, next to each other.

        Raises InputError if `frames` is not a positive whole number.
        """
        frames = count_of(frames, "frames")
        chosen = np.unique(np.linspace(0, len(self.counts) - 1, min(frames, len(self.counts))).astype(int))
        masks = {self.frame_indices[i]: rle.decode(self.counts[i], self.height, self.width) for i in chosen}
        uri, read = _open(self.video)
        drawn = [overlay(frame.image, masks[frame.index]) for frame in read(uri, Selection(indices=tuple(masks)))]
        return contact_sheet([(readable(self.expression), drawn)])


class Model:
    """A loaded checkpoint. Call it from one thread at a time."""

    def __init__(self, segmenter: Segmenter) -> None:
        if not hasattr(segmenter, "prepare"):
            raise InputError(f"a Model comes from load_model(checkpoint), not from {described(segmenter)}")
        self._segmenter = segmenter

    def segment(
        self,
        video: Video,
        expressions: str | Sequence[str],
        *,
        window: int | None = 36,
        overlap: int = 0,
        frame_step: int = 1,
        decoder: str = "pyav",
    ) -> list[VideoMasks]:
        """Return the masks of each expression, in order: the same as those of `rvos segment` with the same options.

        video: a path or URI of a video file, a picture or a folder of pictures; or frames, uint8 [T, H, W, 3] RGB.
        window: frames of one model call; None passes the whole video at once.
        overlap: frames that consecutive windows share.
        frame_step: take every N-th frame.
        decoder: "pyav" or "decord", for video files.

        Raises InputError, which says what to pass, for an argument of another type, shape or value, and for an
        expression or a video that the model cannot take; StorageError if the storage does not answer.
        """
        window = None if window is None else count_of(window, "window")
        overlap, frame_step = count_of(overlap, "overlap", 0), count_of(frame_step, "frame_step")
        if overlap >= (window or 1):
            raise InputError(f"overlap must be at least 0 and below window: got window={window}, overlap={overlap}")
        decoder = word_of(decoder, "decoder", '"pyav" or "decord"')
        options = FrameOptions(window=window, overlap=overlap, frame_step=frame_step, decoder=decoder)
        texts = _expressions(expressions)
        uri, read = _open(video)
        rows = [
            {"video_id": uri, "video_uri": uri, "expression_id": str(number), "expression": text}
            for number, text in enumerate(texts)
        ]
        clips, problems = split_rows(rows, options)
        for row, problem in problems:
            raise InputError(f"expression {row['expression'][:SHOWN]!r}: {problem}")
        answers: list[list[dict[str, list]]] = [[] for _ in texts]

        def take(event: ModelEvent, _: int) -> None:
            if isinstance(event, Answer):
                answers[event.pair.number].append(frame_rows(event.window, event.kept, event.found))
            elif isinstance(event, ClipDone):
                for pair in event.pairs:
                    if pair.failure:
                        raise _failure(pair.row, *pair.failure, is_path=read is read_frames)
                    if pair.means_nothing:
                        answers[pair.number] = [without_masks(columns) for columns in answers[pair.number]]

        windows = read_windows(clips, options.of(self._segmenter), self._segmenter.prepare, read)
        ModelStage(self._segmenter, take).run(windows)
        return [VideoMasks.of(text, video, found) for text, found in zip(texts, answers, strict=True)]


def load_model(
    checkpoint: str | PathLike[str] = BUNDLED,
    *,
    device: str = "auto",
    short_side: int | None = None,
    max_size: int | None = None,
    threshold: float = 0.5,
    precision: str = "fp32",
    no_target_below: float | None = None,
) -> Model:
    """Load a checkpoint.

    checkpoint: a local folder or s3:// URI, from `rvos convert` or `rvos train`; "tiny" is the bundled checkpoint,
    which knows simple coloured shapes only.
    device: "cpu", "cuda" or "auto", which takes CUDA if this machine has it.
    short_side, max_size: pixels of the shorter side of the model input, None for the default of the checkpoint, and the
    limit of the longer side.
    threshold: probability above which a pixel belongs to the object.
    precision: "fp32", "bf16" or "fp16".
    no_target_below: predicted presence below which masks become empty, since the sentence seems to mean nothing; None
    for the default of the checkpoint, 0 to keep all masks. Only checkpoints with a quality head predict it.

    Raises InputError, which says what to pass, if `checkpoint` is something else, it cannot be loaded, or an option is
    of another type or out of range.
    """
    short_side = None if short_side is None else count_of(short_side, "short_side", 32)
    max_size = None if max_size is None else count_of(max_size, "max_size", 32)
    threshold = number_of(threshold, "threshold")
    no_target_below = None if no_target_below is None else number_of(no_target_below, "no_target_below")
    device = word_of(device, "device", '"cpu", "cuda" or "auto"')
    name = BUNDLED if checkpoint == BUNDLED else path_of(checkpoint, "checkpoint", kinds.CHECKPOINT)
    try:
        with checkpoint_folder(name) as folder:
            segmenter = load_segmenter(
                folder,
                device=device,
                short_side=short_side,
                max_size=max_size,
                threshold=threshold,
                precision=precision,
                no_target_below=no_target_below,
            )
    except (CheckpointError, ValueError) as error:
        raise InputError(str(error)) from None
    return Model(segmenter)


def _expressions(given: object) -> list[str]:
    texts = texts_of(given, "expressions", "a sentence")
    if not texts:
        raise InputError("expressions is empty; pass a sentence, or a list of them")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"expression {text[:SHOWN]!r} holds half of a character; correct the text") from None
    return texts


def _failure(row: dict, status: str, reason: str, *, is_path: bool) -> InputError:
    """Return the error for a pair without masks."""
    uri = row["video_uri"]
    if is_path and status in ("missing", "corrupt"):
        kind = recognise(uri)
        if kind not in (*kinds.VIDEO.kinds, Kind.ABSENT, Kind.READ_ONLY):
            return wrong_object(uri, "video", kind, kinds.VIDEO)
    return InputError(f"expression {row['expression'][:SHOWN]!r}: {status}: {for_python(reason)}")


def _open(video: Any) -> tuple[str, Callable[..., Iterator[Frame]]]:
    """Return the URI of a video and the function that reads it, with the arguments of `read_frames`."""
    if isinstance(video, str | PathLike):
        return uri_of(video, "video", "a video"), read_frames
    if not isinstance(video, np.ndarray | Sequence) or isinstance(video, bytes | bytearray):
        ask = f"video must be a path or frames, uint8 [T, H, W, 3] or a list of uint8 [H, W, 3], got {described(video)}"
        is_array = hasattr(video, "__array__") or hasattr(video, "__array_interface__")  # a tensor, or a picture
        raise InputError(f"{ask}; np.asarray(video) makes an array of it" if is_array else ask)
    if isinstance(video, np.ndarray) and video.ndim != 4:
        raise InputError(
            f"frame 0 must be uint8 [H, W, 3]: video is {described(video)}, not uint8 [T, H, W, 3]; "
            "pass image[np.newaxis] for a single picture"
        )
    if not len(video):
        raise InputError("there are no frames: video is empty")
    for number, frame in enumerate(video):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(f"frame {number} must be uint8 [H, W, 3], got {described(frame)}; {_conversion(frame)}")
        try:
            check_size(frame.shape[1], frame.shape[0], "frames", number)
            check_same_size(frame, video[0].shape[:2], "frames", number)
        except MediaError as error:
            raise InputError(str(error)) from None

    def read(_: str, selection: Selection, **_options: object) -> Iterator[Frame]:
        for index in selection.indices or range(0, len(video), selection.step):
            yield Frame(index, f"{index:05d}", video[index])

    return "frames", read


def _conversion(frame: object) -> str:
    """Return how to make a frame of something else."""
    if isinstance(frame, str | PathLike):
        return "pass one path as text, not a list of paths"
    if not isinstance(frame, np.ndarray):
        return "np.asarray(frame) makes an array of a picture or tensor"
    if frame.ndim == 3 and frame.shape[0] == 3 != frame.shape[2]:
        return "frame.transpose(1, 2, 0) puts the colours last"
    if frame.dtype.kind == "f":
        return "(255 * frame).round().astype(np.uint8) converts values from 0 to 1"
    return "pass RGB values from 0 to 255"
