"""Segment one video in this process, without Ray and without files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath

import numpy as np
from PIL import Image

from model.bundled import BUNDLED
from model.errors import CheckpointError
from model.families import load_segmenter
from model.segmenter import Segmenter
from pipeline.drawing.overlay import contact_sheet, overlay
from pipeline.io import storage
from pipeline.io.checkpoint import checkpoint_folder
from pipeline.segment.clips import FrameOptions, read_windows, split_rows
from pipeline.segment.events import Answer, ClipDone, ModelEvent
from pipeline.segment.model_stage import ModelStage
from pipeline.segment.write_stage import frame_rows
from pipeline.video import Frame, Selection, read_frames
from pipeline.video.types import check_same_size, check_size
from schemas import rle
from schemas.errors import InputError

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
        """Draw the masks of `frames` frames, spread evenly over the video, next to each other."""
        chosen = np.unique(np.linspace(0, len(self.counts) - 1, min(frames, len(self.counts))).astype(int))
        masks = {self.frame_indices[i]: rle.decode(self.counts[i], self.height, self.width) for i in chosen}
        uri, read = _open(self.video)
        drawn = [overlay(frame.image, masks[frame.index]) for frame in read(uri, Selection(indices=tuple(masks)))]
        return contact_sheet([(self.expression, drawn)])


class Model:
    """A loaded checkpoint. Call it from one thread at a time."""

    def __init__(self, segmenter: Segmenter) -> None:
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

        Raises InputError for frames of another shape or type, and for an expression or a video that the model cannot
        take; StorageError if the storage does not answer.
        """
        if not 0 <= overlap < (window if window is not None else 1) or frame_step < 1:
            text = "window and frame_step must be positive, and overlap at least 0 and below window"
            raise InputError(f"{text}: got window={window}, overlap={overlap}, frame_step={frame_step}")
        options = FrameOptions(window=window, overlap=overlap, frame_step=frame_step, decoder=decoder)
        texts = [expressions] if isinstance(expressions, str) else list(expressions)
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
                        raise InputError(f"expression {pair.row['expression'][:SHOWN]!r}: {': '.join(pair.failure)}")

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
) -> Model:
    """Load a checkpoint.

    checkpoint: a local folder or s3:// URI, from `rvos convert` or `rvos train`; "tiny" is the bundled checkpoint,
    which knows simple coloured shapes only.
    device: "cpu", "cuda" or "auto", which takes CUDA if this machine has it.
    short_side, max_size: pixels of the shorter side of the model input, None for the default of the checkpoint, and the
    limit of the longer side.
    threshold: probability above which a pixel belongs to the object.
    precision: "fp32", "bf16" or "fp16".

    Raises InputError if the checkpoint cannot be loaded or an option is out of range.
    """
    try:
        with checkpoint_folder(fspath(checkpoint)) as folder:
            segmenter = load_segmenter(
                folder,
                device=device,
                short_side=short_side,
                max_size=max_size,
                threshold=threshold,
                precision=precision,
            )
    except (CheckpointError, ValueError) as error:
        raise InputError(str(error)) from None
    return Model(segmenter)


def _open(video: Video) -> tuple[str, Callable[..., Iterator[Frame]]]:
    """Return the URI of a video and the function that reads it, with the arguments of `read_frames`."""
    if isinstance(video, str | PathLike):
        return storage.absolute(fspath(video)), read_frames
    if not len(video):
        raise InputError("there are no frames")
    for number, frame in enumerate(video):
        if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
            found = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise InputError(f"frame {number} must be uint8 [H, W, 3], got {found}")
        check_size(frame.shape[1], frame.shape[0], "frames", number)
        check_same_size(frame, video[0].shape[:2], "frames", number)

    def read(_: str, selection: Selection, **_options: object) -> Iterator[Frame]:
        for index in selection.indices or range(0, len(video), selection.step):
            yield Frame(index, f"{index:05d}", video[index])

    return "frames", read
