"""SAM 2 and SAM 3 as models that refine masks, SAM 3 also as one that segments: load and check their folders."""

from pathlib import Path

import transformers

from model.device import find_device
from model.sam.concepts import ConceptSegmenter, lookahead_of
from model.sam.folder import TRACKERS, ConceptModel, folder_digest, load_model, read_config, read_pixels, require_model
from model.sam.instances import ANSWERS
from model.sam.phrases import FILES, OPTIONAL_FILES, load_phrases
from model.sam.propagator import Propagator
from model.segmenter import CheckpointInfo, InferenceRules, Refining, Segmenter


def load_segmenter(
    folder: str | Path,
    *,
    device: str,
    short_side: int | None,
    max_size: int | None,
    threshold: float,
    precision: str,
    compiled: bool,
    rules: InferenceRules,
    answer: str = "union",
    no_target_below: float | None = None,
) -> Segmenter:
    """Load a folder of SAM 3 as `model.families.load_segmenter`."""
    if short_side or max_size or compiled or rules != InferenceRules() or no_target_below is not None:
        raise ValueError(
            "SAM 3 has a fixed input size, is not compiled, follows no rules of benchmarks and predicts no quality"
        )
    folder = Path(folder)
    config = read_config(folder)
    return ConceptSegmenter(
        load_model(folder, config, ConceptModel),
        load_phrases(folder, config),
        read_pixels(folder, config),
        device=find_device(device),
        precision=precision,
        answer=answer,
        threshold=threshold,
    )


def check_checkpoint(folder: str | Path) -> CheckpointInfo:
    """Check a folder of SAM 3 without loading its weights into memory."""
    folder = Path(folder)
    config = read_config(folder)
    pixels, phrases = read_pixels(folder, config), load_phrases(folder, config)
    require_model(folder, config, pixels.side, ConceptModel)
    return CheckpointInfo(
        family=config.model_type,
        digest=folder_digest(folder, (*FILES, *OPTIONAL_FILES)),
        short_side=pixels.side,
        max_tokens=phrases.max_tokens,
        count_tokens=phrases.count,
        resize=lambda frame, short_side, max_size: pixels.prepare(frame),
        supports_overlap=False,
        tracking=f"transformers {transformers.__version__}",
        lookahead=lookahead_of(config),
        answers=ANSWERS,
    )


def load_refiner(folder: str | Path, *, device: str, precision: str, refining: Refining) -> Propagator:
    """Load a folder as `model.families.load_refiner`."""
    folder = Path(folder)
    config = read_config(folder)
    return Propagator(
        load_model(folder, config),
        TRACKERS[config.model_type].session,
        read_pixels(folder, config),
        device=find_device(device),
        precision=precision,
        refining=refining,
    )


def check_refiner(folder: str | Path) -> CheckpointInfo:
    """Check a folder without loading its weights into memory."""
    folder = Path(folder)
    config = read_config(folder)
    pixels = read_pixels(folder, config)
    require_model(folder, config, pixels.side)
    return CheckpointInfo(
        family=config.model_type,
        digest=folder_digest(folder),
        short_side=pixels.side,
        max_tokens=0,
        count_tokens=lambda expression: 0,
        resize=lambda frame, short_side, max_size: pixels.prepare(frame),
        supports_overlap=False,
        tracking=f"transformers {transformers.__version__}",
    )
