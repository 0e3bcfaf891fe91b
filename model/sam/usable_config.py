"""Refuse values in a config.json of SAM that load, and with which a run would have no masks, or ones of NaN.

transformers divides by some of these values, takes logarithms of others, and compares probabilities with thresholds
without asking whether they can be reached. `model.sam.trial` finds sizes that contradict each other.
"""

import re
from typing import Any, NamedTuple

MOST_FRAMES = 256  # that the tracker reads, or a new object waits for: all are in memory. Published models take 16


class Range(NamedTuple):
    """Values that a key may have, both ends included."""

    least: float
    most: float


# The first expression that matches the whole key counts. Keys whose value is no number are left to transformers.
RANGES = {
    re.compile(r"hotstart_(unmatch|dup)_thresh"): Range(1, MOST_FRAMES),  # at 0, every object is taken back
    re.compile(r"hotstart_delay"): Range(0, MOST_FRAMES),
    re.compile(r"\w*_eps"): Range(1e-12, 1),  # below, a division by 0
    re.compile(r"rope_theta"): Range(1, 2**20),  # its powers are divided by
    re.compile(r"max_object_pointers_in_encoder"): Range(0, MOST_FRAMES),
    re.compile(r"max_num_objects"): Range(1, 2**20),  # at 0, none is followed
    re.compile(r"\w*thresh(old)?(_\w+)?"): Range(0, 1),  # of probabilities and IoU
}
# Height and width: a convolution takes other lists when the model is built, and refuses them when a frame comes.
PLANE = re.compile(r"patch_(kernel_size|stride|padding)|query_stride|image_size|\w+_background_size|\w+_feat_sizes")
POINTERS, TEMPORAL = "max_object_pointers_in_encoder", "enable_temporal_pos_encoding_for_object_pointers"


def require_usable(values: Any) -> None:
    """Raise ValueError for a number in a config that is out of its range, or a list of more than height and width."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            require_usable(value)
        elif isinstance(value, list) and PLANE.fullmatch(key) and len(value) > 2:
            raise ValueError(f"{key} is {value}; it must be one number, or those of height and width")
        elif isinstance(value, int | float):
            allowed = next((allowed for name, allowed in RANGES.items() if name.fullmatch(key)), None)
            if allowed and not allowed.least <= value <= allowed.most:
                raise ValueError(f"{key} is {value}; it must be from {allowed.least} to {allowed.most:,}")
            # The tracker scales the age of pointers by this number less 1.
            if key == POINTERS and value == 1 and values.get(TEMPORAL, True):
                raise ValueError(f"{key} is 1, at which every mask would be NaN; the published value is 16")
