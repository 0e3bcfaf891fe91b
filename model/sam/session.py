"""Tracking sessions of transformers' SAM models that hold no frames, and forget what no later frame reads.

A session follows one object. transformers keeps the frames of the whole video in it, and 6 MB of results a frame.
"""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, Self, TypeVar

from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

SessionT = TypeVar("SessionT")
OBJECT = 1  # the id of the one object
MOST_PROMPTS = 4  # prompted frames that are remembered: the first and the latest


class StreamedFrames:
    """Overrides of a session. The caller sets `current` to the pixels of the frame that it asks for."""

    current: Tensor
    total = 0  # frames of the video as far as it is known
    cache: Any  # image features of one frame; sessions that go through the same frames together share it
    output_dict_per_obj: dict[int, dict[str, dict[int, dict]]]
    frames_tracked_per_obj: dict[int, dict[int, dict]]
    mask_inputs_per_obj: dict[int, dict]
    point_inputs_per_obj: dict[int, dict]

    @property
    def num_frames(self) -> int:
        """Frames of the video. The tracker asks whether there are fewer than it takes pointers of objects."""
        return self.total

    def get_frame(self, frame_idx: int) -> Tensor:
        """Return the current frame."""
        return self.current

    def outputs(self, frame: int) -> dict[str, Tensor]:
        """Return the results of a frame that was just tracked."""
        found = self.output_dict_per_obj[0]
        return found["cond_frame_outputs"].get(frame) or found["non_cond_frame_outputs"][frame]

    def fork(self) -> Self:
        """Return a session with the same state. Tensors are shared, since nothing writes to them."""
        return fork_of(self)

    def forget(self, is_read: Callable[[int], bool], now: int) -> None:
        """Remove what no later frame reads; `is_read(frame)`: a later frame may read the results of `frame`."""
        found = self.output_dict_per_obj[0]
        prompted, tracked = found["cond_frame_outputs"], found["non_cond_frame_outputs"]
        for frame in sorted(prompted)[1 : 1 - MOST_PROMPTS]:
            del prompted[frame]
        for frames in (tracked, self.frames_tracked_per_obj[0]):
            for frame in [frame for frame in frames if not is_read(frame)]:
                del frames[frame]
        for frames in (prompted, tracked):
            for frame, outputs in frames.items():
                outputs.pop("high_res_masks", None)
                if frame != now and frames is tracked:
                    outputs.pop("pred_masks", None)
        self.mask_inputs_per_obj[0].clear()
        self.point_inputs_per_obj[0].clear()


def fork_of(session: SessionT) -> SessionT:
    """Return a copy of a session with its own containers and the same tensors."""
    twin = copy.copy(session)
    for name, value in vars(session).items():
        setattr(twin, name, _containers_again(value))
    return twin


def _containers_again(value: Any) -> Any:
    """Copy dicts, lists and sets, also inside each other, and nothing else."""
    if type(value) is defaultdict:
        return defaultdict(value.default_factory, {key: _containers_again(one) for key, one in value.items()})
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _containers_again(one)) for key, one in value.items())
    return type(value)(map(_containers_again, value)) if type(value) in (list, set) else value


class Sam2Session(StreamedFrames, Sam2VideoInferenceSession):
    """A session of `Sam2VideoModel`."""


class Sam3Session(StreamedFrames, Sam3TrackerVideoInferenceSession):
    """A session of `Sam3TrackerVideoModel`."""
