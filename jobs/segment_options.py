"""The options of `rvos segment`, as the parts of the pipeline take them."""

from jobs.config.segment import SegmentConfig
from model.bundled import BUNDLED
from model.segmenter import InferenceRules
from pipeline.io import storage
from pipeline.runs.plan import PlanOptions
from pipeline.segment.actor import ModelOptions
from pipeline.segment.clips import FrameOptions


def frame_options(config: SegmentConfig) -> FrameOptions:
    return FrameOptions(
        window=config.window_frames,
        overlap=config.overlap,
        max_whole_frames=config.max_whole_frames,
        frame_step=config.frame_step,
        decoder=config.decoder,
        allow_short=config.allow_short,
        context=config.published.context,
        exclusive=config.published.exclusive,
    )


def plan_options(config: SegmentConfig) -> PlanOptions:
    return PlanOptions(
        frame_step=config.frame_step,
        unit_frames=config.unit_frames,
        assume_frames=config.assume_frames,
        whole_videos=config.published.exclusive,
    )


def model_options(config: SegmentConfig, threads: int | None) -> ModelOptions:
    return ModelOptions(
        checkpoint=checkpoint_of(config),
        device=config.device,
        threads=threads,
        short_side=config.short_side,
        max_size=config.max_size,
        threshold=config.threshold,
        precision=config.precision,
        compiled=config.compile,
        rules=inference_rules(config),
    )


def checkpoint_of(config: SegmentConfig) -> str:
    """Return the URI of the checkpoint, or BUNDLED."""
    return storage.absolute(config.checkpoint) if config.checkpoint not in (None, BUNDLED) else BUNDLED


def inference_rules(config: SegmentConfig) -> InferenceRules:
    """Return the part of the rules that the model follows."""
    published = config.published
    return InferenceRules(
        pad_to=published.pad_to,
        lower_case=published.lower_case,
        nearest=published.nearest,
        all_candidates=config.candidates == "all",
    )
