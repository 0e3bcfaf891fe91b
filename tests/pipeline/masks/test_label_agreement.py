"""Labels of label maps against the objects of the annotations or of the manifest."""

import pytest

from pipeline.masks.label_agreement import label_mismatch


@pytest.mark.parametrize(
    ("labels", "objects", "start"),
    [
        ({"v": "12"}, {"v": "12"}, None),
        ({"v": "1"}, {"v": "123"}, None),  # two were missed
        ({"v": "12345"}, {"v": "3"}, None),  # the manifest asks for one
        ({"v": "14"}, {"v": "123"}, None),  # one strange label beside one that is right
        ({"v": "12"}, {"w": "78"}, None),
        ({"v": ""}, {"v": "78"}, None),
        ({"v": "12", "w": "12"}, {"v": "12", "w": ["3"]}, "no label of the masks is an object (in w: 1, 2; its ob"),
        ({"v": "3456"}, {"v": "123"}, "most labels of the masks are no objects (in v: 3, 4, 5, 6; its objects: 1, 2"),
        ({"v": "23"}, {"v": "12"}, "all labels of the masks differ by +1"),
        ({"v": "012"}, {"v": "123"}, "all labels of the masks differ by -1"),
        ({"v": "23", "w": "12"}, {"v": "12", "w": "12"}, None),  # w is right: the ids are not shifted
    ],
)
def test_mismatches(labels, objects, start):
    found = label_mismatch(labels, objects)
    assert found is None if start is None else found is not None and found.startswith(start)
