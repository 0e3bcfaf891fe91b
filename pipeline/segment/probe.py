"""Measure speed and output size on the first window of a few videos, to estimate what a whole run takes."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.errors import FastModeError
from model.segmenter import CheckpointInfo, Overlap, Segmenter
from pipeline.runs.plan import PlanSize
from pipeline.segment.clips import ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.segment.model_options import ModelOptions
from pipeline.segment.spool import FRAME_ROWS
from pipeline.segment.write_stage import frame_rows, pair_rows
from pipeline.video.reading import probe
from schemas.advice import outside_a_run
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.shown import shown

MODEL_SECONDS = 20.0  # to measure the model; its windows are cut short where it would take longer


@dataclass(slots=True)
class ProbeTotals:
    """Sums over the probed windows. Without a model its seconds stay 0."""

    device: str
    videos: int = 0
    frames: int = 0
    decode_seconds: float = 0.0
    model_frames: int = 0  # that the model saw
    shared_seconds: float = 0.0  # of the model, once for all expressions of a video
    pair_seconds: float = 0.0  # of the model and of encoding, for one expression
    lengths: list[int | None] = field(default_factory=list)  # frames that a run takes of each video; None: unknown
    tables: list[pa.Table] = field(default_factory=list)  # PREDICTIONS, one pair each
    failures: list[str] = field(default_factory=list)

    @property
    def mean_length(self) -> int | None:
        """Mean of `lengths`; None if one of them is unknown."""
        known = [length for length in self.lengths if length is not None]
        return round(sum(known) / len(known)) if known and len(known) == len(self.lengths) else None

    def output_bytes(self, size: PlanSize) -> int | None:
        """Bytes of the objects of a whole run: data per mask and footer per pair. None without a model."""
        if not self.tables:
            return None
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, PREDICTIONS, compression="zstd") as writer:
            for table in self.tables:
                writer.write_table(table)
        buffer = sink.getvalue()
        metadata = pq.read_metadata(pa.BufferReader(buffer))
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        data = sum(group.column(index).total_compressed_size for group in groups for index in range(group.num_columns))
        footer = (buffer.size - data) / len(self.tables)
        return round(data / metadata.num_rows * size.pair_frames + footer * size.pairs)


def probe_videos(
    part: pa.Table,
    count: int,
    frames: FrameOptions,
    model: ModelOptions,
    checkpoint: CheckpointInfo,
    *,
    measure_model: bool,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProbeTotals:
    """Decode the first window of up to `count` videos of a plan part, from the longest units to the shortest.

    With `measure_model` also segment it; on a CPU only so many frames and videos as MODEL_SECONDS allow. `on_progress`
    is called with the videos that are done, and all. Raises InputError if no video can be read.
    """
    gpu = measure_model and has_gpu(model.device)
    segmenter = model.load() if measure_model else None
    device = torch.cuda.get_device_name() if gpu else platform.processor() or "CPU"
    positions = ((np.arange(count) + 0.5) / count * part.num_rows).astype(int)
    rows = {row["video_id"]: row for row in part.take(np.unique(positions)).to_pylist()}
    clips, bad = split_rows(list(rows.values()), frames)
    totals = ProbeTotals(device, failures=[problem for _, problem in bad])
    short_side = model.short_side or checkpoint.short_side

    def prepare(frame: np.ndarray) -> np.ndarray:
        return checkpoint.resize(frame, short_side, model.max_size)

    model_frames, ends = None, time.perf_counter() + MODEL_SECONDS
    for number, clip in enumerate(clips):
        on_progress(number, len(clips))
        if totals.videos and not gpu and time.perf_counter() > ends:
            break
        window = next(read_windows([clip], replace(frames, overlap=0), prepare))
        if isinstance(window, ClipEnd):
            reason = outside_a_run(str(window.error or "no frames"))
            totals.failures.append(reason if shown(clip.uri) in reason else f"{clip.uri}: {reason}")
            continue
        totals.videos += 1
        totals.frames += len(window.frames)
        totals.lengths.append(_length(window, frames))
        totals.decode_seconds += window.seconds
        if segmenter:
            if totals.videos == 1 and (gpu or model.compiled or model.precision != "fp32"):
                _warm_up(segmenter, window if gpu else _first_frames(window, 1))
            if totals.videos == 1 and not gpu:
                model_frames = _affordable_frames(segmenter, window, MODEL_SECONDS / len(clips))
            window = _first_frames(window, model_frames)
            # A first expression also pays for the features of the video, which all expressions share.
            one, table = _time_answer(segmenter, window, 1)
            two, _ = _time_answer(segmenter, window, 2)
            pair = max(0.0, two - one)
            totals.pair_seconds += pair
            totals.shared_seconds += max(0.0, one - pair)
            totals.model_frames += len(window.frames)
            totals.tables.append(table)
    if not totals.videos:
        raise InputError(f"none of the probed videos could be read; run 'rvos check'. The first: {totals.failures[0]}")
    return totals


def _length(window: Window, frames: FrameOptions) -> int | None:
    """Return how many frames a run takes of the video of a first `window`; None if its header has no count."""
    if frames.window is None or len(window.frames) < frames.window:
        return len(window.frames)
    count = probe(window.clip.uri).num_frames
    return None if count is None else -(-count // frames.frame_step)


def has_gpu(device: str) -> bool:
    """Return True if a model on `device` (an option --device) runs on a GPU of this machine."""
    return device != "cpu" and torch.cuda.is_available()


def _affordable_frames(segmenter: Segmenter, window: Window, seconds: float) -> int:
    """Return how many frames of a window one and two expressions take `seconds` for, one at least."""
    first = _first_frames(window, 1)
    _time_answer(segmenter, first, 1)  # pays for what only a first call does
    each, _ = _time_answer(segmenter, first, 1)
    return max(1, int(seconds / (2.5 * each)))


def _first_frames(window: Window, count: int | None) -> Window:
    return replace(window, indices=window.indices[:count], names=window.names[:count], frames=window.frames[:count])


def _warm_up(segmenter: Segmenter, window: Window) -> None:
    """Load kernels on a GPU, compile, and compare with float32: a run does this once, at its start."""
    try:
        _time_answer(segmenter, window, 2)
        segmenter.stats()
    except FastModeError as error:
        raise InputError(str(error)) from None


def _time_answer(segmenter: Segmenter, window: Window, expressions: int) -> tuple[float, pa.Table]:
    """Seconds for the clip's first expression and others as long, and the rows (PREDICTIONS) of the first."""
    row, started = window.clip.pairs[0], time.perf_counter()
    sentences = [row["expression"] + "." * number for number in range(expressions)]
    overlap = None
    if segmenter.lookahead is not None:
        overlap = Overlap(0, len(window.frames), [None] * expressions)
    answers = segmenter.segment(window.frames, window.size, sentences, overlap=overlap)
    first, *_ = [frame_rows(window, range(len(window.frames)), answer) for answer in answers]
    return time.perf_counter() - started, pair_rows(pa.table(first, schema=FRAME_ROWS), row, 0.5)
