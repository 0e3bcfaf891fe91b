"""Suppression of overlapping detections, and connected components: what transformers fetches from the hub.

Also the IoU of masks in little memory.

Without the package `kernels`, transformers leaves both out; with it, it downloads code when the first object is found,
which runs on CUDA only. Here they run everywhere and give the same result.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from transformers.models.sam3_video import modeling_sam3_video

EIGHT_NEIGHBOURS = np.ones((3, 3), int)


class Kernels:
    """Methods and arguments as transformers calls them on kernels-community/cv-utils."""

    def generic_nms(self, ious: Tensor, scores: Tensor, iou_threshold: float, use_iou_matrix: bool = True) -> Tensor:
        """Return the numbers, int64, of the detections to keep: the surest, then those that overlap none before.

        ious: float [N, N]. scores: float [N]. A detection with a greater IoU than `iou_threshold` is dropped.
        """
        overlaps = ious.float().cpu().numpy()
        order = scores.float().cpu().argsort(descending=True, stable=True).numpy()
        kept = []
        while order.size:
            kept.append(int(order[0]))
            order = order[1:][overlaps[order[0], order[1:]] <= iou_threshold]
        return torch.tensor(kept, dtype=torch.int64, device=scores.device)

    def cc_2d(self, masks: Tensor, get_counts: bool = True) -> tuple[Tensor, Tensor]:
        """Return the component of each pixel, and its number of pixels; 0 in the background.

        masks: uint8 [N, 1, H, W]; both results int32 [N, 1, H, W]. Pixels that touch at a corner are connected.
        """
        flat = masks.cpu().numpy().reshape(-1, *masks.shape[-2:])
        labels, counts = np.zeros(flat.shape, np.int32), np.zeros(flat.shape, np.int32)
        for number, mask in enumerate(flat):
            labels[number], _ = ndimage.label(mask, EIGHT_NEIGHBOURS)  # pyright: ignore[reportGeneralTypeIssues]
            sizes = np.bincount(labels[number].ravel())
            sizes[0] = 0
            counts[number] = sizes[labels[number]]
        found = (torch.from_numpy(each).reshape(masks.shape).to(masks.device) for each in (labels, counts))
        return next(found), next(found)


def mask_iou(masks: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each mask with each other one, float32 [N, M]; bool [N, H, W] and [M, H, W].

    transformers compares all pairs pixel by pixel, which takes 26 GB for the 200 detections of a frame. Here it is one
    product of matrices, with equal bits: float32 holds whole numbers up to 2**24, more than a mask has pixels.
    """
    with torch.autocast(masks.device.type, enabled=False):
        flat, other = masks.flatten(1).float(), others.flatten(1).float()
        common = flat @ other.T
        either = flat.sum(1)[:, None] + other.sum(1) - common
    return common / either.clamp(min=1)


def use_own_kernels() -> None:
    """Make transformers use `Kernels` and `mask_iou` in this process. It looks for nothing on the hub then."""
    modeling_sam3_video.cv_utils_kernel = Kernels()
    modeling_sam3_video.mask_iou = mask_iou
