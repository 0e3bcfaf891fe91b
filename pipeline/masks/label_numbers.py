"""Ids of objects that are labels: values of the pixels in label maps, which have at most 16 bits."""

import re
from collections.abc import Iterable

_LABEL = re.compile(r"[0-9]{1,5}")


def are_labels(object_ids: Iterable[str]) -> bool:
    """Return True if all ids can be labels. Programs count up to the largest one, so it is bounded."""
    return all(_LABEL.fullmatch(object_id) for object_id in object_ids)
