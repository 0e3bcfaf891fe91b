"""`rvos plan`: what a run will take in units, masks, bytes, hours and money, from its plan and a few videos tried here.

Counted: pairs, units, frames. Measured on this machine: seconds per frame and bytes per mask of the probed videos.
All the rest is those two multiplied, and the result says so.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jobs.config.plan import PlanConfig
from jobs.config.segment import SegmentConfig
from jobs.dry_run import assumption
from jobs.segment import check_manifest, check_model, frame_options, model_options, plan_options
from model.errors import FastModeError
from model.referformer.inference.fast_modes import GuardedSegmenter
from model.referformer.inference.preprocess import resize
from model.referformer.inference.segmenter import Segmenter
from pipeline.runs.plan import PlanSize, plan_part
from pipeline.segment.clips import Clip, ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.segment.inference import frame_rows
from pipeline.segment.spool import FRAME_ROWS
from pipeline.segment.unit import pair_rows
from schemas.errors import InputError
from schemas.masks import PREDICTIONS


@dataclass(slots=True)
class Probe:
    """Sums over the probed windows. The model's part stays 0 where its speed was stated."""

    device: str
    videos: int = 0
    frames: int = 0
    decode_seconds: float = 0.0
    shared_seconds: float = 0.0  # of the model, once for all expressions of a video
    pair_seconds: float = 0.0  # of the model and RLE, for one expression
    tables: list[pa.Table] = field(default_factory=list)  # rows of one pair each
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanResult:
    """The extent of the run, and what it takes on one `machine`; hours shrink as machines are added.

    `output_bytes`, `cost` and the like are None where nothing was measured or stated that they could come from.
    """

    manifest: str
    extent: PlanSize
    machine: str
    probed_videos: int
    probed_frames: int
    decode_hours: float
    model_hours: float
    output_bytes: int | None
    cost: float | None
    bottleneck: str
    notes: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Decoding runs beside the model, so the longer of the two counts."""
        return max(self.decode_hours, self.model_hours)

    def to_json(self) -> dict:
        return asdict(self) | {"hours": self.hours}

    def text(self) -> str:
        extent = self.extent
        rate = f"{extent.pair_frames / (3600 * self.hours):,.1f} masks/s"
        size = "not measured" if self.output_bytes is None else f"about {_bytes(self.output_bytes)}"
        cost = "" if self.cost is None else f", cost {self.cost:,.2f}"
        return "\n".join(
            [
                f"pairs   {extent.pairs:,} of {extent.videos:,} videos, in {extent.units:,} units",
                f"frames  {extent.video_frames:,} to decode, {extent.pair_frames:,} masks to make",
                f"output  {size}",
                f"time    {_hours(self.hours)} on one {self.machine}, {rate}{cost}",
                f"limit   {self.bottleneck}",
                *(f"note    {note}" for note in self.notes),
            ]
        )


def run(config: PlanConfig) -> PlanResult:
    """Count the whole, try a few videos, multiply.

    Raises InputError for what `rvos segment` would refuse, and if none of the probed videos can be read.
    """
    segment = config.segment()
    _, fingerprint, tokenizer = check_model(segment)
    rows = check_manifest(segment, tokenizer).slice(0, config.limit)
    part = plan_part(rows, fingerprint, plan_options(segment))
    extent = PlanSize.of(part)
    probe = _probe(_spread(part, config.probe), segment, measure_model=config.frames_per_second is None)
    decode = extent.video_frames * probe.decode_seconds / probe.frames / 3600
    if config.frames_per_second:
        model = extent.pair_frames / config.frames_per_second / 3600
    else:
        per_frame = extent.video_frames * probe.shared_seconds + extent.pair_frames * probe.pair_seconds
        model = segment.passes * per_frame / probe.frames / 3600
    comparable = config.frames_per_second or not config.gpu or config.gpu.lower() in probe.device.lower()
    return PlanResult(
        manifest=config.manifest,
        extent=extent,
        machine=(config.gpu or "GPU so fast") if config.frames_per_second else f"machine like this ({probe.device})",
        probed_videos=probe.videos,
        probed_frames=probe.frames,
        decode_hours=decode,
        model_hours=model,
        output_bytes=_output_bytes(probe.tables, extent),
        cost=max(decode, model) * config.price if config.price is not None and comparable else None,
        bottleneck=_bottleneck(decode, model),
        notes=tuple(_notes(config, extent, probe, bool(comparable))),
    )


def _spread(part: pa.Table, count: int) -> list[dict]:
    """Rows of up to `count` videos, evenly from the longest units to the shortest."""
    places = ((np.arange(count) + 0.5) / count * part.num_rows).astype(int)
    rows = part.take(np.unique(places)).to_pylist()
    return list({row["video_id"]: row for row in rows}.values())


def _probe(rows: list[dict], config: SegmentConfig, *, measure_model: bool) -> Probe:
    """Decode the first window of each row's video and, if asked for, segment it."""
    segmenter = model_options(config, None).load() if measure_model else None
    probe = Probe(device=_device_name(segmenter))
    prepare = partial(resize, short_side=config.input_side, max_size=config.max_size)
    clips, bad = split_rows(rows, config.frame_step)
    probe.failures += [problem for _, problem in bad]
    for clip in clips:
        window = _first_window(clip, frame_options(config), prepare)
        if isinstance(window, ClipEnd):
            probe.failures.append(f"{clip.uri}: {window.error or 'no frames'}")
            continue
        if segmenter:
            if not probe.videos:
                _warm_up(segmenter, window)
            _measure(segmenter, window, probe)
        probe.videos += 1
        probe.frames += len(window.frames)
        probe.decode_seconds += window.seconds
    if not probe.videos:
        raise InputError(f"none of the probed videos could be read; run 'rvos check'. The first: {probe.failures[0]}")
    return probe


def _first_window(clip: Clip, frames: FrameOptions, prepare: Callable) -> Window | ClipEnd:
    return next(iter(read_windows([clip], replace(frames, overlap=0), prepare)))


def _warm_up(segmenter: Segmenter, window: Window) -> None:
    """What a run does at its start only: load kernels on a GPU, compile, compare with float32."""
    if segmenter.device.type == "cuda" or isinstance(segmenter, GuardedSegmenter):
        try:
            _answer(segmenter, window, 2)
            segmenter.stats()
        except FastModeError as error:
            raise InputError(str(error)) from None


def _measure(segmenter: Segmenter, window: Window, probe: Probe) -> None:
    """One expression also pays for what all expressions of a video share; two show how much that is."""
    one, table = _answer(segmenter, window, 1)
    two, _ = _answer(segmenter, window, 2)
    pair = max(0.0, two - one)
    probe.shared_seconds += max(0.0, one - pair)
    probe.pair_seconds += pair
    probe.tables.append(table)


def _answer(segmenter: Segmenter, window: Window, expressions: int) -> tuple[float, pa.Table]:
    """Seconds for the row's expression and others about as long, and the rows of the first."""
    row, started = window.clip.pairs[0], time.perf_counter()
    sentences = [row["expression"] + "." * number for number in range(expressions)]
    found = segmenter.segment(window.frames, window.size, sentences)
    first, *_ = [frame_rows(window, range(len(window.frames)), answer) for answer in found]
    return time.perf_counter() - started, pair_rows(pa.table(first, schema=FRAME_ROWS), row, 0.5)


def _output_bytes(tables: list[pa.Table], extent: PlanSize) -> int | None:
    """Bytes of the whole, from the probed pairs written as a run writes them: data per mask, footer per pair."""
    if not tables:
        return None
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, PREDICTIONS, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    buffer = sink.getvalue()
    metadata = pq.read_metadata(pa.BufferReader(buffer))
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    data = sum(group.column(index).total_compressed_size for group in groups for index in range(group.num_columns))
    return round(data / metadata.num_rows * extent.pair_frames + (buffer.size - data) / len(tables) * extent.pairs)


def _bottleneck(decode: float, model: float) -> str:
    if decode <= model:
        return f"the model: {_hours(model)}, and decoding beside it on one core {_hours(decode)}"
    return (
        f"decoding: {_hours(decode)} on one core, and the model only {_hours(model)}; several actors on one GPU "
        "(--gpus-per-actor 0.5) decode on several cores"
    )


def _notes(config: PlanConfig, extent: PlanSize, probe: Probe, comparable: bool) -> Iterator[str]:
    what = f"{probe.frames} frames of {probe.videos} videos"
    if config.frames_per_second:
        yield f"{config.frames_per_second:g} masks/s are as stated; decoding was measured here on {what}"
        yield "the output was not measured; without --frames-per-second it is"
    else:
        yield f"measured here on {what} and multiplied; start-up, other storage and longer windows are not in it"
    if config.overlap:
        once = "which the stated speed must have in it" if config.frames_per_second else "which is counted"
        yield f"--overlap makes the model see a frame of a long video {config.segment().passes:.2f} times, {once}"
    if not comparable:
        yield f"{probe.device} says nothing about {config.gpu}: run this on one, or give its --frames-per-second"
    if extent.assumed_pairs:
        yield assumption(extent.assumed_pairs, config.assume_frames)
    if probe.failures:
        yield f"{len(probe.failures)} probed videos could not be read, the first: {probe.failures[0]}"


def _device_name(segmenter: Segmenter | None) -> str:
    if segmenter is not None and segmenter.device.type == "cuda":
        return torch.cuda.get_device_name(segmenter.device)
    return f"CPU, {torch.get_num_threads()} threads"


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.1f} s"


def _bytes(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000  # pyright: ignore[reportAssignmentType]
    return f"{count:,.3g} TB"
