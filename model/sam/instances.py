"""One mask a frame from the instances that SAM 3 follows: all of them, or one.

A frame can be answered when `lookahead` later ones have been seen: until then a new instance may be taken back. Answers
depend on these frames and all before, so windows do not change them.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoSegmentationOutput

ANSWERS = ("union", "best")
HIDDEN_FRAMES = 30  # in a row without the chosen instance, after which another one is chosen


@dataclass(frozen=True)
class Instances:
    """The instances of one frame."""

    numbers: list[int]
    masks: Tensor  # float32 [N, h, w], logits, on the CPU
    scores: list[float]  # probability of the detection when the track began x presence in this frame
    shown: list[bool]  # False: without a pixel, or suppressed in this frame

    @classmethod
    def of(cls, found: Sam3VideoSegmentationOutput, births: dict[int, int], cut: float) -> "Instances":
        """Take the outputs of the model for a frame.

        births: the frame in which each instance was detected. cut: a logit above it belongs to the mask.
        """
        masks_by_number = found.obj_id_to_mask or {}
        detected, present = found.obj_id_to_score or {}, found.obj_id_to_tracker_score or {}
        numbers = sorted(masks_by_number)
        masks = torch.zeros(0, 1, 1)
        if numbers:
            masks = torch.cat([masks_by_number[number] for number in numbers]).float().cpu()
        scores, shown = [], []
        for number, mask in zip(numbers, masks, strict=True):
            presence = 1.0 if births.get(number) == found.frame_idx else present.get(number, 0.0)
            scores.append(max(0.0, detected.get(number, 0.0) * presence))
            shown.append(bool((mask > cut).any()) and number not in (found.suppressed_obj_ids or ()))
        return cls(numbers, masks, scores, shown)

    def visible(self, removed: frozenset[int]) -> dict[int, float]:
        """Return the scores of the instances to show, by number. removed: those that were taken back since."""
        listed = zip(self.numbers, self.scores, self.shown, strict=True)
        return {number: score for number, score, is_shown in listed if is_shown and number not in removed}


@dataclass
class Choice:
    """The instance that `--answer best` shows."""

    number: int | None = None
    margin: float | None = None  # its score less that of the next best, when it was chosen
    hidden: int = 0  # frames in a row without it

    def update(self, visible: dict[int, float], coming: list[dict[int, float]]) -> int | None:
        """Go to the next frame, and return the instance that it shows, if any.

        visible: scores of the frame's instances. coming: those of this frame and of the `lookahead` ones after it,
        over which the mean score of an instance decides.
        """
        self.hidden = 0 if self.number in visible else self.hidden + 1
        if visible and (self.number is None or self.hidden > HIDDEN_FRAMES):
            means = {number: sum(one.get(number, 0.0) for one in coming) / len(coming) for number in visible}
            best = max(means, key=lambda number: (means[number], -number))
            others = [mean for number, mean in means.items() if number != best]
            self.number, self.hidden = best, 0
            self.margin = means[best] - max(others) if others else None
        return self.number if self.number in visible else None


@dataclass
class Pending:
    """Frames that were seen, until they are answered."""

    frames: dict[int, Instances] = field(default_factory=dict)  # by position in the video
    removed: frozenset[int] = frozenset()  # instances that were taken back
    choice: Choice = field(default_factory=Choice)
