"""Masks of a training set that have no possible size are named, whatever else is wrong."""

import pyarrow as pa
import pytest

from pipeline.training.examples import _group
from schemas.errors import InputError


@pytest.mark.parametrize(("height", "width"), [(0, 2), (2**31 - 1, 2**31 - 1)])
def test_an_absurd_size_is_named(height, width):
    row = {"video_id": "v", "object_id": "2", "frame_index": 7, "height": height, "width": width, "counts": b"04"}
    with pytest.raises(InputError, match=r"video_id=v object_id=2: frame 7: .*16384.*; correct the row"):
        _group(pa.Table.from_pylist([row]), "object_id")
