import numpy as np
import pytest
from PIL import Image

from pipeline.io import storage
from pipeline.masks.label_maps import MaskRows, read_binary_mask, read_mask
from schemas import rle
from schemas.check import conform
from schemas.errors import MediaError, StorageError
from schemas.masks import ANNOTATIONS, VOID

MASK = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_values_are_read_not_colours(tmp_path, mode):
    image = Image.fromarray(MASK)
    if mode == "P":
        image.putpalette([255, 0, 0] * 256)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "a.png")), MASK)


def test_what_is_no_mask(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(MediaError, match="mode RGB"):
        read_mask(str(path))
    for content, reason in ((path.read_bytes()[:40], "truncated"), (b"", "empty"), (b"GIF89a", "not a PNG file")):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=f"cannot be read .*{reason}"):
            read_mask(str(path))
    with pytest.raises(MediaError, match=r"b\.png"):
        read_mask(str(tmp_path / "b.png"))


@pytest.mark.parametrize("read", [read_mask, read_binary_mask])
def test_a_storage_that_fails_does_not_make_a_mask_corrupt(monkeypatch, read):
    def fail(uri, limit):
        raise StorageError(f"{uri}: no answer")

    monkeypatch.setattr(storage, "read_bytes", fail)
    with pytest.raises(StorageError, match="no answer"):
        read("s3://bucket/a.png")


def test_rows():
    rows = MaskRows("clip", {"1", "10"})
    rows.add(0, "00000", MASK)
    rows.add(4, "00020", np.where(MASK == 1, 1, 0).astype(np.uint8))
    table = conform(rows.annotations(), ANNOTATIONS, "test")
    counts = {(row["object_id"], row["frame_index"]): row["counts"] for row in table.to_pylist()}
    assert list(counts) == [("1", 0), ("1", 4), ("2", 0), ("2", 4), ("10", 0), ("10", 4)]
    assert [key for key, value in counts.items() if value is None] == [("2", 4), ("10", 0), ("10", 4)]
    np.testing.assert_array_equal(rle.decode(counts["2", 0], 2, 3), MASK == 2)
    void = conform(rows.void(), VOID, "test").to_pylist()
    assert [row["frame_name"] for row in void] == ["00000"]
    np.testing.assert_array_equal(rle.decode(void[0]["counts"], 2, 3), MASK == 255)
    assert rows.found() == {"1", "2"}
