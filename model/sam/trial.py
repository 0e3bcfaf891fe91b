"""Check a config and its weights without values: on torch's meta device, tensors have a shape and take no memory.

transformers builds a model of any sizes. Those that contradict each other show when a frame goes through it, and
tensors that do not fit when the weights are loaded: in an actor, after everything else has started.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, Sam3VideoModel

from model.errors import AGAIN, one_line
from model.sam.concept_session import ConceptSession
from model.sam.session import OBJECT, Sam2Session, Sam3Session

META = torch.device("meta")
NEEDS_VALUES = "meta tensor"  # in errors of torch about operations that cannot do with shapes
FRAMES = 3  # a prompt, its memory, and the memory of a frame without a prompt


def require_consistent(kind: Any, config: PreTrainedConfig, side: int) -> None:
    """Take three frames of `side` pixels through a model without values. Raises ValueError with the part that fails.

    kind: `Sam3VideoModel`, or the model of a tracker.
    """
    _try_frames(kind, _Config(config), side)


class _Config:
    """A config, equal to others with the same values."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.config, self.text = config, config.to_json_string(use_diff=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Config) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@functools.lru_cache(8)
def _try_frames(kind: Any, config: _Config, side: int) -> None:
    model: Any = None
    try:
        with torch.inference_mode(), META:
            model = kind(config.config).eval()
            (_follow_phrase if issubclass(kind, Sam3VideoModel) else _follow_masks)(model, side)
    except Exception as error:  # any kind: it depends on the operation that cannot work with these sizes
        if NEEDS_VALUES in str(error):  # another version of transformers may look at values; sizes are not to blame
            return
        reason = one_line(error)
        place = _place_of(error, model)
        raise ValueError(
            f"numbers in it contradict each other{place}; {AGAIN} ({type(error).__name__}: {reason})"
        ) from None


def _follow_masks(model: Any, side: int) -> None:
    """Prompt a tracker with a mask, and another session with a box; follow both."""
    kind = Sam2Session if model.config.model_type == "sam2_video" else Sam3Session
    box = {"point_coords": torch.zeros(1, 1, 2, 2), "point_labels": torch.zeros(1, 1, 2, dtype=torch.int32)}
    prompts: list[Callable[[Any], None]] = [
        lambda session: session.add_mask_inputs(0, 0, torch.zeros(1, 1, side, side)),
        lambda session: session.add_point_inputs(0, 0, box),
    ]
    for prompt in prompts:
        session = kind(dtype=torch.float32, inference_device=META, inference_state_device=META)
        session.obj_id_to_idx(OBJECT)
        session.total = FRAMES
        prompt(session)
        session.obj_with_new_inputs = [OBJECT]
        for frame in range(FRAMES):
            session.current = torch.zeros(3, side, side)
            model(inference_session=session, frame_idx=frame)


def _follow_phrase(model: Any, side: int) -> None:
    """Detect what a phrase names, and follow it. Steps are those of `Sam3VideoModel`, whose choices need values."""
    tokens = torch.zeros(1, model.config.detector_config.text_config.max_position_embeddings, dtype=torch.int64)
    session, drawn = ConceptSession(META, "", tokens, tokens), model.low_res_mask_size
    _keep_sizes(model.detector_model)
    session.total = FRAMES
    seen = model.detector_model.get_vision_features(pixel_values=torch.zeros(1, 3, side, side))
    words = model.detector_model.get_text_features(input_ids=tokens, return_dict=True)  # a mask is looked at
    found = model.detector_model(vision_embeds=seen, text_embeds=words)
    _require_size("its detector", found.pred_masks, drawn)
    features, positions = model.get_vision_features_for_tracker(seen)
    for frame in range(FRAMES):
        session.cache.cache_vision_features(frame, {"vision_feats": features, "vision_pos_embeds": positions})
        if frame == 0:
            index = session.obj_id_to_idx(OBJECT)
            session.add_mask_inputs(index, frame, found.pred_masks[0, :1, None] > 0)
            session.obj_with_new_inputs = [OBJECT]
        tracked = model.tracker_model(inference_session=session, frame_idx=frame)
        _require_size("its tracker", tracked.pred_masks, drawn)


def _keep_sizes(detector: Any) -> None:
    """Give the decoder of a detector the size of the image features as values, which it counts with."""
    sizes: list[Tensor] = []

    def note(module: nn.Module, args: tuple, options: dict) -> None:
        sizes[:] = [torch.tensor([options["vision_features"][0].shape[-2:]], device="cpu")]

    detector.detr_encoder.register_forward_pre_hook(note, with_kwargs=True)
    detector.detr_decoder.register_forward_pre_hook(
        lambda module, args, options: (args, {**options, "spatial_shapes": sizes[0]}), with_kwargs=True
    )


def _require_size(part: str, masks: Tensor, drawn: int) -> None:
    if masks.shape[-2:] != (drawn, drawn):
        height, width = masks.shape[-2:]
        raise ValueError(f"low_res_mask_size is {drawn}, but {part} draws masks of {width} x {height} pixels")


def _place_of(error: BaseException, model: nn.Module | None) -> str:
    """Return the name of the innermost part of a model in which an error arose, as " in NAME"."""
    names = {} if model is None else {id(module): name for name, module in model.named_modules()}
    found, trace = "", error.__traceback__
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), "") or found
        trace = trace.tb_next
    return f" in {found}" if found else ""
