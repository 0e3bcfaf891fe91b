"""The loop that transformers publishes for SAM 3: the whole video in one session, masks from its own processor."""

import importlib

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, Sam3VideoModel
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from model.sam.kernels import use_own_kernels

PUBLISHED_IOU = modeling_sam3_video.mask_iou  # while tests are imported: no model has been loaded yet


def processor_of(folder: str):
    """The real processor, which transformers hides where torchvision is missing, of which it uses boxes only."""
    module = importlib.import_module("transformers.models.sam3_video.processing_sam3_video")
    module.masks_to_boxes = lambda masks: torch.zeros(len(masks), 4)
    processor = object.__new__(module.Sam3VideoProcessor)
    processor.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return processor


def published(folder: str, frames: np.ndarray, expression: str) -> tuple[list[dict], Sam3VideoInferenceSession]:
    """Outputs of the processor for each frame, and the session afterwards. frames: uint8 [T, H, W, 3]."""
    use_own_kernels()
    modeling_sam3_video.mask_iou = PUBLISHED_IOU  # until the end of the loop
    model, processor = Sam3VideoModel.from_pretrained(folder).eval(), processor_of(folder)
    side = model.config.image_size
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    small = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    height, width = frames.shape[1:3]
    mean = torch.tensor(0.5) * 255.0
    session = Sam3VideoInferenceSession(
        video=(small.float() - mean) / mean, video_height=height, video_width=width, dtype=torch.float32
    )
    processor.add_text_prompt(session, expression)
    found = []
    for out in model.propagate_in_video_iterator(session):
        found.append(processor.postprocess_outputs(session, out))
    use_own_kernels()
    return found, session


def union(outputs: list[dict]) -> np.ndarray:
    """Masks of all instances of each frame, bool [T, H, W]."""
    return np.stack([one["masks"].any(0).numpy() for one in outputs])
