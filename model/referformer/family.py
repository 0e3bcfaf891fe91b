"""ReferFormer as a model family: load and check its checkpoint folders for `model.families`."""

from pathlib import Path
from typing import Any

from model.finite_weights import require_finite
from model.referformer.checkpoint import (
    WEIGHTS,
    load_model,
    model_without_values,
    read_config,
    read_short_side,
    require_weights,
    weights_digest,
)
from model.referformer.inference.fast_modes import GuardedSegmenter
from model.referformer.inference.preprocess import resize
from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.referformer.tokenizer import load_tokenizer
from model.segmenter import CheckpointInfo


def load_segmenter(
    folder: str | Path,
    *,
    short_side: int | None = None,
    precision: str = "fp32",
    compiled: bool = False,
    **options: Any,
) -> ReferFormerSegmenter:
    """Load a checkpoint as `model.families.load_segmenter`; in a fast mode its masks are compared with float32."""
    model = load_model(folder)
    tokenizer = load_tokenizer(folder, model.config.text.vocab_size)
    options["short_side"] = short_side or read_short_side(folder)
    if compiled or precision != "fp32":
        return GuardedSegmenter(model, tokenizer, precision=precision, compiled=compiled, **options)
    return ReferFormerSegmenter(model, tokenizer, **options)


def check_checkpoint(folder: str | Path) -> CheckpointInfo:
    """Refuse every folder that `load_segmenter` refuses, in a fraction of its time and memory, and broken weights."""
    config = read_config(folder)
    require_weights(folder, model_without_values(config))
    require_finite([Path(folder) / WEIGHTS])
    return CheckpointInfo(
        family="referformer",
        digest=weights_digest(folder),
        short_side=read_short_side(folder),
        max_tokens=config.text.max_tokens,
        count_tokens=load_tokenizer(folder, config.text.vocab_size).count,
        resize=resize,
        supports_rules=True,
        no_target_below=None if config.quality is None else config.quality.no_target_below,
    )
