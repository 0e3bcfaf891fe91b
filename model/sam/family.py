"""SAM 2 and SAM 3 as models that refine masks: load and check their folders for `model.families`."""

from pathlib import Path

import transformers

from model.device import find_device
from model.sam.folder import TRACKERS, folder_digest, load_model, read_config, read_pixels
from model.sam.propagator import Propagator
from model.segmenter import CheckpointInfo, Refining


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
    """Check a folder without loading its weights into memory; names of tensors are checked when they are loaded."""
    folder = Path(folder)
    config = read_config(folder)
    pixels = read_pixels(folder, config)
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
