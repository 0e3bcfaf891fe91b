"""Objects between the labels of a video that no frame shows."""

import pyarrow as pa
import pytest

from pipeline.evaluation.scoring.gap_objects import _gaps, first_frame_objects
from pipeline.masks.label_numbers import are_labels


@pytest.mark.parametrize(("ids", "gaps"), [(["1", "4"], {"2", "3"}), (["a", "4"], None), (["1", "9" * 12], None)])
def test_only_labels_have_gaps(ids, gaps):
    """A larger number is not one: a program that counts up to it never ends."""
    rows = [
        {"video_id": "v", "object_id": name, "frame_index": 0, "height": 2, "width": 2, "counts": b"04"} for name in ids
    ]
    assert _gaps(pa.Table.from_pylist(rows)) == ({"v": gaps} if gaps else {})


@pytest.mark.parametrize(("height", "width"), [(0, 2), (2**31 - 1, 2**31 - 1)])
def test_a_mask_of_an_absurd_size_is_left_to_scoring(height, width):
    row = {"video_id": "v", "object_id": "2", "frame_index": 0, "height": height, "width": width, "counts": b"04"}
    assert first_frame_objects(pa.Table.from_pylist([row])) == {"v": {"2"}}


@pytest.mark.parametrize("name", ["", "²", "1_0", "-1", "100000", "9" * 5000, "１"])
def test_what_is_no_label(name):
    assert not are_labels(["1", name])
    assert are_labels(["1", "65535"])
