"""mAP over all samples (A2D, JHMDB): the COCO evaluation, given the overlaps instead of masks."""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("mAP", "AP@0.5", "AP@0.75", "AP small", "AP medium", "AP large")


def average_precision(samples: Sequence[tuple[int, Sequence[Mapping]]]) -> dict[str, float | None]:
    """Return COCO average precision.

    A sample is the area of its one annotated mask, in pixels, and its candidates: `score`, `area`, `iou` with it.

    The values: averaged over IoU 0.5 to 0.95; at 0.5; at 0.75; and for annotated masks below 32^2 pixels, below 96^2
    and above. None if no sample has such a mask.
    """
    truth = [_annotation(n, area) for n, (area, _) in enumerate(samples)]
    found = [
        _annotation(n, candidate["area"]) | {"score": candidate["score"], "iou": candidate["iou"]}
        for n, (_, candidates) in enumerate(samples)
        for candidate in candidates
    ]
    for number, annotation in enumerate(found):
        annotation["id"] = number + 1
    with contextlib.redirect_stdout(io.StringIO()):  # COCO prints its progress
        evaluation = _KnownOverlaps(_coco(truth, len(samples)), _coco(found, len(samples)), "bbox")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(NAMES, evaluation.stats, strict=False)}


class _KnownOverlaps(COCOeval):
    """COCOeval that takes the IoU from the key `iou` of each candidate."""

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:  # noqa: N802, N803  (COCO's names)
        found = self._dts[imgId, 1]
        order = np.argsort([-one["score"] for one in found], kind="mergesort")[: self.params.maxDets[-1]]
        return np.array([[found[n]["iou"]] for n in order]) if len(found) else []


def _annotation(sample: int, area: int) -> dict:
    return {"id": sample + 1, "image_id": sample, "category_id": 1, "area": area, "iscrowd": 0, "bbox": [0, 0, 0, 0]}


def _coco(annotations: list[dict], samples: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": n} for n in range(samples)],
        "categories": [{"id": 1}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
