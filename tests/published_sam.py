"""The loop that transformers publishes: the whole video in one session, forward from the prompt, then backward."""

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Sam2VideoModel, Sam3TrackerVideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from tests.tiny_sam import write_sam2, write_sam3

KINDS = {
    "sam2": (write_sam2, Sam2VideoModel, Sam2VideoInferenceSession),
    "sam3": (write_sam3, Sam3TrackerVideoModel, Sam3TrackerVideoInferenceSession),
}


def published(folder: str, name: str, frames: np.ndarray, anchor: int, mask: np.ndarray, prompt: str) -> tuple:
    """Displayed masks and object scores of the published loop on the whole video."""
    _, kind, session_kind = KINDS[name]
    model = kind.from_pretrained(folder).eval()
    side = model.config.image_size
    values = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if name == "sam2" else ((0.5,) * 3, (0.5,) * 3)
    mean, std = (torch.tensor(each)[:, None, None] * 255.0 for each in values)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    small = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    session = session_kind(video=(small.float() - mean) / std, dtype=torch.float32)
    number = session.obj_id_to_idx(1)
    if prompt == "mask":
        full = torch.from_numpy(mask)[None, None].float()
        resized = F.interpolate(full, (side, side), mode="bilinear", antialias=True, align_corners=False)
        session.add_mask_inputs(number, anchor, (resized >= 0.5).float())
    else:
        rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        corners = torch.tensor([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]]).float()
        corners *= torch.tensor([side / mask.shape[1], side / mask.shape[0]])
        points = {"point_coords": corners[None, None], "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32)}
        session.add_point_inputs(number, anchor, points)
    session.obj_with_new_inputs = [1]
    masks, scores = {}, {}
    for reverse in (False, True):
        for out in model.propagate_in_video_iterator(session, start_frame_idx=anchor, reverse=reverse):
            masks[out.frame_idx] = (F.interpolate(out.pred_masks, mask.shape, mode="bilinear")[0, 0] > 0).numpy()
            scores[out.frame_idx] = float(out.object_score_logits.sigmoid())
    order = range(len(frames))
    return np.stack([masks[t] for t in order]), np.array([scores[t] for t in order], np.float32)
