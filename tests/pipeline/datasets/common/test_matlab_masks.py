"""MATLAB files that are far larger than they look, or hold other things than numbers."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from pipeline.datasets.common import matlab_masks


def saved(values, **options) -> bytes:
    content = io.BytesIO()
    scipy.io.savemat(content, {"part_mask": values}, **options)
    return content.getvalue()


def bomb(unpacked: int) -> bytes:
    """A file whose only element unpacks to many zeros after the header of a small array."""
    plain = saved(np.zeros((2, 2, 2), np.uint8))[128:] + bytes(unpacked)
    packed = zlib.compress(plain, 9)
    return saved(1)[:128] + struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_numbers_are_read(options):
    values = np.ones((3, 4), np.uint8) if options.get("format") else np.ones((3, 4, 5), np.uint8)
    found = matlab_masks.read(saved(values, **options), "part_mask")
    assert found.shape == (*values.shape, 1)[:3]
    assert found.all()


@pytest.mark.parametrize(
    "values",
    [{"a": 1}, "text", np.array([[{}, "x"]], object), scipy.sparse.eye(3), np.zeros((0, 3, 3)), np.zeros((2, 2, 2, 2))],
    ids=["struct", "text", "cell", "sparse", "empty", "4d"],
)
def test_other_things_are_refused(values):
    with pytest.raises(ValueError, match="part_mask"):
        matlab_masks.read(saved(values), "part_mask")


def test_a_bomb_is_refused_before_it_takes_memory(monkeypatch):
    monkeypatch.setattr(matlab_masks, "MAX_BYTES", 20_000_000)
    content = bomb(30_000_000)
    assert len(content) < 40_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 20000000 bytes"):
        matlab_masks.read(content, "part_mask")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_large_claim_in_a_small_file_takes_no_memory():
    content = bytearray(saved(np.zeros((2, 2, 2), np.uint8)))
    at = content.index(struct.pack("<iii", 2, 2, 2))
    content[at : at + 12] = struct.pack("<iii", 60_000, 60_000, 60_000)
    with pytest.raises(ValueError, match="not a sequence of masks"):
        matlab_masks.read(bytes(content), "part_mask")
