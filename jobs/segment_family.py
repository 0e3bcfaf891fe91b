"""Refuse options of `rvos segment` that the family of the checkpoint cannot honour."""

from collections.abc import Iterator

from jobs.config.segment import NO_RULES, SegmentConfig
from model.segmenter import CheckpointInfo
from schemas.errors import InputError


def require_supported(config: SegmentConfig, checkpoint: CheckpointInfo) -> None:
    """Raise InputError for an option that this checkpoint cannot honour, with the reason."""
    family = checkpoint.family
    short_side = config.short_side or checkpoint.short_side
    if not checkpoint.supports_rules and (config.rules or config.candidates == "all"):
        reason = "--rules reproduce the published inference of ReferFormer, and --candidates shows its object queries"
        raise InputError(f"{reason}: a {family} model has neither; leave them out")
    if checkpoint.lookahead is not None:
        for option, reason in _of_followers(config, checkpoint, checkpoint.lookahead):
            raise InputError(f"{option}: a {family} model {reason}")
    if config.max_size is not None and config.max_size < short_side:
        raise InputError(f"--max-size {config.max_size} is below --short-side {short_side}")
    if config.overlap and not checkpoint.supports_overlap:
        raise InputError(f"--overlap: a {family} model cannot follow objects across windows; leave it out")
    if config.no_target_below is not None and checkpoint.no_target_below is None:
        raise InputError(
            "--no-target-below needs a checkpoint that predicts if expressions describe something; this one does not; "
            "leave it out, or train a quality head ('rvos train --config tiny-quality')"
        )
    if config.answer and config.answer not in checkpoint.answers:
        raise InputError(f"--answer: a {family} model chooses one object itself; leave it out")


def _of_followers(config: SegmentConfig, checkpoint: CheckpointInfo, lookahead: int) -> Iterator[tuple[str, str]]:
    """Yield each option that a model which follows objects cannot honour, and the reason."""
    side, window = checkpoint.short_side, config.window_frames
    if window is None:
        yield "--window whole", "goes through a video of any length in windows, with the same masks; leave it out"
    elif window <= lookahead:
        default = ", or leave it out" if config.window and lookahead < int(NO_RULES.window) else ""
        yield (
            f"--window {window}",
            f"answers a frame after seeing {lookahead} more; give more than {lookahead}{default}",
        )
    if config.short_side:
        yield "--short-side", f"has one input size, {side} x {side} pixels; leave it out"
    if config.max_size:
        yield "--max-size", f"has one input size, {side} x {side} pixels; leave it out"
    if config.overlap:
        yield "--overlap", "carries its objects from window to window by itself; leave it out"
    if config.compile:
        yield "--compile", "cannot be compiled here, since the number of its objects changes; leave it out"
    if config.no_target_below is not None:
        yield "--no-target-below", "does not predict whether a sentence describes something; leave it out"
    if config.precision == "fp16":
        yield "--precision fp16", "keeps its memories in bf16, which fp16 cannot join; use fp32 or bf16"
