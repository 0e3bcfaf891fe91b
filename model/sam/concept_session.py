"""A session of transformers' `Sam3VideoModel` that holds no frames, and forgets what no later frame reads.

A session follows all objects that one expression finds. In transformers it keeps the frames of the whole video, and
6 MB of results for each frame and object. Two limits are this package's own, and show in long videos only: a track
keeps MOST_CONDITIONING conditioning frames, and ends after EMPTY_FRAMES frames without the object.
"""

from typing import Any, Self

import torch
from torch import Tensor
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession, Sam3VideoSegmentationOutput

from model.sam.session import fork_of

MOST_OBJECTS = 32  # that one expression follows at once
MOST_CONDITIONING = 16  # conditioning frames of an object: the first, and the latest
EMPTY_FRAMES = 300  # in a row without a pixel, after which an object is given up


class ConceptSession(Sam3VideoInferenceSession):
    """A session for one expression. The caller sets `current` to the pixels of the frame that it asks for."""

    current: Tensor
    total = 0  # frames of the video as far as it is known

    def __init__(self, device: torch.device, expression: str, ids: Tensor, mask: Tensor) -> None:
        """ids, mask: int64 [1, L], the tokens of the expression."""
        super().__init__(inference_device=device, inference_state_device=device, dtype=torch.float32)
        number = self.add_prompt(expression)
        self.prompt_input_ids[number], self.prompt_attention_masks[number] = ids, mask
        self.empty_frames: dict[int, int] = {}  # object -> frames in a row in which it has no pixel

    @property
    def num_frames(self) -> int:
        """Frames of the video. The tracker asks whether there are fewer than it takes pointers of objects."""
        return self.total

    def get_frame(self, frame_idx: int) -> Tensor:
        """Return the current frame."""
        return self.current

    def fork(self) -> Self:
        """Return a session with the same state. Tensors are shared, since nothing writes to them."""
        return fork_of(self)

    def forget(self, found: Sam3VideoSegmentationOutput, reach: int, unmatched: int, delay: int) -> None:
        """Remove what no frame after the one with the outputs `found` reads.

        reach: frames back to which the tracker reads results. unmatched: frames without a detection after which a new
        object is taken back. delay: frames during which that may happen.
        """
        now = found.frame_idx
        assert now is not None
        self._end_empty_tracks(found)
        for results in self.output_dict_per_obj.values():
            conditioning, others = results["cond_frame_outputs"], results["non_cond_frame_outputs"]
            _keep(others, lambda frame: frame > now - reach)
            for frame in sorted(conditioning)[1 : 1 - MOST_CONDITIONING]:
                del conditioning[frame]
            for frames in (conditioning, others):
                for frame, outputs in frames.items():
                    outputs.pop("high_res_masks", None)
                    if frame != now:
                        outputs.pop("pred_masks", None)
        for frames in self.frames_tracked_per_obj.values():
            _keep(frames, lambda frame: frame >= now)
        for inputs in (*self.mask_inputs_per_obj.values(), *self.point_inputs_per_obj.values()):
            inputs.clear()
        for frames in (self.obj_id_to_tracker_score_frame_wise, self.suppressed_obj_ids):
            _keep(frames, lambda frame: frame >= now)
        live = set(self.obj_ids)
        for of_objects in (
            self.unmatched_frame_inds,
            self.trk_keep_alive,
            self.obj_first_frame_idx,
            self.obj_id_to_score,
            self.empty_frames,
        ):
            _keep(of_objects, live.__contains__)
        for frames in self.unmatched_frame_inds.values():
            del frames[:-unmatched]
        pairs, born = self.overlap_pair_to_frame_inds, self.obj_first_frame_idx
        _keep(pairs, lambda pair: pair[1] in live and born[pair[1]] > now - delay)
        self.removed_obj_ids = set()  # their numbers are not given again

    def _end_empty_tracks(self, found: Sam3VideoSegmentationOutput) -> None:
        """Count the frames in a row in which an object has no pixel, and remove it after EMPTY_FRAMES."""
        for number, mask in (found.obj_id_to_mask or {}).items():
            self.empty_frames[number] = 0 if (mask > 0).any() else self.empty_frames.get(number, 0) + 1
        for number in [number for number in self.obj_ids if self.empty_frames.get(number, 0) >= EMPTY_FRAMES]:
            self.remove_object(number)


def _keep(values: dict, is_wanted: Any) -> None:
    for key in [key for key in values if not is_wanted(key)]:
        del values[key]
