"""`rvos plan`: estimate units, masks, bytes, hours and money of a run from its plan and a few probed videos.

Counted: pairs, units, frames. Measured on this machine: seconds per frame and bytes per mask of the probed videos.
The rest is their product, and the result says so.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from jobs.config.plan import PlanConfig
from jobs.dry_run import assumption
from jobs.planned_work import PlannedWork, planned_work
from jobs.result import JobResult
from jobs.segment_options import frame_options, model_options, plan_options
from jobs.sentences import sentence_note
from jobs.terminal.progress import count
from pipeline.runs.plan import PlanSize
from pipeline.segment.probe import ProbeTotals, has_gpu, probe_videos
from pipeline.segment.resources import choose_resources, this_machine
from schemas.errors import InputError
from schemas.printable import counted

NOT_INCLUDED = "start-up, other storage and longer windows are not included"
FIRST_FRAMES = 16  # of a video: until then the memories of a model that follows objects grow


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanResult(JobResult):
    """The size of the run, and what it takes on one `machine`; more machines take fewer hours.

    `models` run at once: one on a GPU, next to decoding; or on CPUs one per core, which decode in turn.
    `output_bytes` and `cost` are None where nothing was measured or stated to compute them from.
    """

    manifest: str
    extent: PlanSize
    machine: str
    models: int
    probed_videos: int
    probed_frames: int
    hours: float
    decode_hours: float  # of one core
    model_hours: float  # of one model
    output_bytes: int | None
    cost: float | None
    cost_needs: str | None  # for a cost of the stated --price that could not be computed
    bottleneck: str
    notes: tuple[str, ...]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        size = self.extent
        rate = f"{size.pair_frames / (3600 * self.hours):,.1f} frames/s"
        output = "not measured" if self.output_bytes is None else f"about {_bytes(self.output_bytes)}"
        cost = "" if self.cost is None else f", cost {self.cost:,.2f}"
        return "\n".join(
            [
                f"pairs   {size.pairs:,} of {counted(size.videos, 'video', ',')}, in "
                f"{counted(size.units, 'unit', ',')}",
                f"frames  {size.video_frames:,} to decode, {counted(size.pair_frames, 'mask', ',')} to make",
                f"output  {output}",
                f"time    {_hours(self.hours)} on one {self.machine}, {rate}{cost}",
                *([f"cost    unknown: {self.cost_needs}"] if self.cost_needs else []),
                f"limit   {self.bottleneck}",
                *(f"note    {note}" for note in self.notes),
            ]
        )


def run(config: PlanConfig) -> PlanResult:
    """Count the work, probe a few videos, multiply.

    Raises InputError for whatever the planned command rejects, and if none of the probed videos can be read.
    """
    stated = config.frames_per_second
    if stated is None and config.device == "cuda" and not has_gpu(config.device):
        raise InputError(
            "this machine has no GPU to measure with --device cuda; run the command on one that has, give "
            "--frames-per-second, or omit --device to measure on the CPU"
        )
    work = planned_work(config)
    size = PlanSize.of(work.part)
    on_cpu = stated is None and not has_gpu(config.device)
    models, threads = _models_on_cpu(size, work.memory) if on_cpu else (1, None)
    probe = probe_videos(
        work.part,
        config.probe,
        frame_options(work.segment),
        replace(model_options(work.segment, threads), refining=work.refining),
        work.checkpoint,
        measure_model=stated is None,
        on_progress=count("videos measured"),
    )
    mean_length = probe.mean_length if size.assumed_pairs and config.assume_frames is None else None
    if mean_length is not None:
        size = PlanSize.of(work.part, mean_length)
    decode = size.video_frames * probe.decode_seconds / probe.frames / 3600
    if stated:
        model = size.pair_frames / stated / 3600
    else:
        per_frame = size.video_frames * probe.shared_seconds + size.pair_frames * probe.pair_seconds
        model = work.segment.passes * per_frame / probe.model_frames / 3600
    hours = (decode + model) / models if on_cpu else max(decode, model)
    comparable = bool(stated or not config.gpu or config.gpu.lower() in probe.device.lower())
    return PlanResult(
        manifest=config.manifest,
        extent=size,
        machine=(
            (config.gpu or "GPU of the stated speed")
            if stated
            else f"machine like this ({probe.device}{f', {_models(models)}' if on_cpu else ''})"
        ),
        models=models,
        probed_videos=probe.videos,
        probed_frames=probe.frames,
        hours=hours,
        decode_hours=decode,
        model_hours=model,
        output_bytes=probe.output_bytes(size),
        cost=hours * config.price if config.price is not None and comparable else None,
        cost_needs=None if config.price is None or comparable else _cost_needs(config, probe),
        bottleneck=_limit(decode, model, models if on_cpu else None),
        notes=tuple(_notes(config, work, size, probe, mean_length, comparable)),
    )


def _models_on_cpu(size: PlanSize, memory: int) -> tuple[int, int | None]:
    """Return how many models of `memory` bytes a run on the CPUs of this machine has, and the threads of each."""
    pool, threads = choose_resources(
        this_machine(), "local", "cpu", (), 0, units=size.units, masks=size.pair_frames, bytes_per_actor=memory
    )
    return pool.max_actors, threads


def _models(count: int) -> str:
    return "one model on all cores" if count == 1 else f"{count} models at once"


def _limit(decode: float, model: float, models: int | None) -> str:
    """Say what limits the speed, from hours; `models` on CPUs do both in turn, None with a GPU."""
    if models is not None:
        return f"CPU time: {_hours(model)} for the model and {_hours(decode)} for decoding, by {_models(models)}"
    if decode <= model:
        return f"the model: {_hours(model)}; decoding takes {_hours(decode)} on one core at the same time"
    return (
        f"decoding: {_hours(decode)} on one core, the model only {_hours(model)}; several actors on one GPU "
        "('rvos segment --gpus-per-actor 0.5') decode on several cores"
    )


def _cost_needs(config: PlanConfig, probe: ProbeTotals) -> str:
    """Say how to get the hours on another GPU than this machine has."""
    return (
        f"the time was measured on this machine ({probe.device}), not on {config.gpu}. Run this command on a machine "
        f"with {config.gpu}, or add --frames-per-second N with the frames/s that 'rvos segment' prints there. Without "
        "--gpu, --price is that of this machine"
    )


def _notes(
    config: PlanConfig,
    work: PlannedWork,
    size: PlanSize,
    probe: ProbeTotals,
    mean_length: int | None,
    comparable: bool,
) -> Iterator[str]:
    """The basis of the estimate, and what it leaves out."""
    if work.refining:
        yield "this is 'rvos refine'; pairs of one video with different surest frames take up to twice the features"
    elif sentences := sentence_note(work.checkpoint.family, work.part["expression"]):
        yield sentences
    probed = f"{counted(probe.frames, 'frame')} of {counted(probe.videos, 'video')}"
    if config.frames_per_second:
        yield f"{config.frames_per_second:g} frames/s are as stated; decoding was measured here on {probed}"
        yield "the output was not measured; leave out --frames-per-second to measure it"
    else:
        part = "" if probe.model_frames == probe.frames else f" ({probe.model_frames} of them by the model)"
        yield f"measured here on {probed}{part} and multiplied; {NOT_INCLUDED}{_early(work, probe)}"
    if config.overlap:
        included = "the stated speed must include that" if config.frames_per_second else "the estimate includes that"
        yield (f"--overlap makes the model see a frame of a long video {config.segment().passes:.2f} times; {included}")
    if not comparable and config.price is None:
        yield f"{probe.device} does not predict {config.gpu}: run this on one, or give its --frames-per-second"
    if size.assumed_pairs:
        if mean_length is None:
            yield assumption(size.assumed_pairs, plan_options(work.segment).assume_frames)
        else:
            yield assumption(size.assumed_pairs, mean_length, ", the mean of the probed videos,")
    if probe.failures:
        yield f"{counted(len(probe.failures), 'probed video')} could not be read, the first: {probe.failures[0]}"


def _early(work: PlannedWork, probe: ProbeTotals) -> str:
    """Warn of a model that was only measured while it is fast."""
    if not work.follows or probe.model_frames >= FIRST_FRAMES * probe.videos:
        return ""
    return (
        f". The model follows objects and is faster in the first {FIRST_FRAMES} frames of a video, so longer videos "
        "may take several times as long"
    )


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
