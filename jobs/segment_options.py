"""The options of `rvos segment`, as the parts of the pipeline take them."""

from dataclasses import asdict

from jobs.config.segment import NO_RULES, SegmentConfig
from model.bundled import BUNDLED
from model.segmenter import CheckpointInfo, InferenceRules
from pipeline.io import storage
from pipeline.runs.plan import ASSUMED_FRAMES, PlanOptions
from pipeline.segment.clips import FrameOptions
from pipeline.segment.model_options import ModelOptions
from pipeline.segment.resources import actor_bytes, concepts_bytes
from schemas.version import MASKS_VERSION


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
        assume_frames=config.assume_frames or ASSUMED_FRAMES,
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
        no_target_below=config.no_target_below,
        answer=config.answer,
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


def memory_of_actor(config: SegmentConfig, checkpoint: CheckpointInfo) -> int:
    """Return the bytes that an actor on a CPU needs."""
    if checkpoint.lookahead is not None:
        return concepts_bytes(checkpoint.short_side, config.most_frames)
    return actor_bytes(config.short_side or checkpoint.short_side, config.most_frames)


def fingerprint_inputs(config: SegmentConfig, weights: str, short_side: int) -> dict:
    """Return the weights and the options that decide the masks, by name. The fingerprint is their hash."""
    names = ("max_size", "threshold", "frame_step", "decoder", "allow_short", "window")
    options = {"short_side": short_side} | {name: getattr(config, name) for name in names}
    if config.window == "whole":
        options["max_whole_frames"] = config.max_whole_frames
    if config.overlap:
        options["overlap"] = config.overlap
    rules = asdict(inference_rules(config)) | {
        name: getattr(config.published, name) for name in ("context", "exclusive")
    }
    options |= {name: value for name, value in rules.items() if value != getattr(NO_RULES, name, False)}
    return {"weights": weights, "masks_version": MASKS_VERSION, "precision": config.precision, **options}


def follower_inputs(config: SegmentConfig, checkpoint: CheckpointInfo) -> dict:
    """Return the same for a model that follows objects: windows do not decide its masks, but the code that follows."""
    names = ("precision", "threshold", "frame_step", "decoder", "allow_short")
    return {
        "family": checkpoint.family,
        "weights": checkpoint.digest,
        "tracking": checkpoint.tracking,
        "masks_version": MASKS_VERSION,
        "answer": config.answer or next(iter(checkpoint.answers), ""),
        **{name: getattr(config, name) for name in names},
    }
