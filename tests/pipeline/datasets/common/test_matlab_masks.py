"""MATLAB files that are far larger than they look, or hold other things than numbers."""

import contextlib
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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["bool", "u1", "i2", "u4", "f4", "f8", "i8"])
@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 6), (1, 1, 2)])
def test_numbers_are_read(packed, kind, shape):
    values = (np.random.default_rng(0).random(shape) > 0.5).astype(kind)
    found = matlab_masks.read(saved(values, do_compression=packed), "part_mask")
    assert found.dtype == values.dtype
    assert (found == values.reshape(*shape, 1)[..., : found.shape[2]].reshape(found.shape)).all()


def test_another_version_is_refused():
    with pytest.raises(ValueError, match="save it again with '-v7'"):
        matlab_masks.read(saved(np.ones((3, 4)), format="4"), "part_mask")


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files_are_refused_or_read(packed):
    content = saved(np.ones((3, 4, 5), np.uint8), do_compression=packed)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = rng.integers(256)
        with contextlib.suppress(ValueError):
            matlab_masks.read(bytes(damaged[: rng.integers(100, 2 * len(content))]), "part_mask")


@pytest.mark.parametrize(
    "values",
    [{"a": 1}, "text", np.array([[{}, "x"]], object), scipy.sparse.eye(3), np.zeros((0, 3, 3)), np.zeros((2, 2, 2, 2))],
    ids=["struct", "text", "cell", "sparse", "empty", "4d"],
)
def test_other_things_are_refused(values):
    with pytest.raises(ValueError, match="part_mask"):
        matlab_masks.read(saved(values), "part_mask")


def test_a_bomb_is_refused_before_it_takes_memory():
    content = bomb(30_000_000)
    assert len(content) < 40_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than the .* bytes that it states"):
        matlab_masks.read(content, "part_mask")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_large_claim_in_a_small_file_takes_no_memory():
    content = bytearray(saved(np.zeros((2, 2, 2), np.uint8)))
    at = content.index(struct.pack("<iii", 2, 2, 2))
    content[at : at + 12] = struct.pack("<iii", 60_000, 60_000, 60_000)
    with pytest.raises(ValueError, match="not a sequence of masks"):
        matlab_masks.read(bytes(content), "part_mask")


def test_a_long_sequence_of_single_pixels_is_refused():
    content = saved(np.zeros((1, 1, matlab_masks.MAX_FRAMES + 1), np.uint8), do_compression=True)
    assert len(content) < 1000
    with pytest.raises(ValueError, match="at most 65536 are read"):
        matlab_masks.read(content, "part_mask")


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


@pytest.mark.parametrize(("dimensions", "name"), [(2**22, b"part_mask"), (3, b"n" * 2**24)], ids=["dimensions", "name"])
def test_a_header_of_any_length_is_refused_before_it_takes_memory(dimensions, name):
    header = element(6, struct.pack("<II", 9, 0)) + element(5, b"\1\2\3\4" * dimensions) + element(1, name)
    packed = zlib.compress(element(14, header + element(2, b"")), 9)
    content = saved(1)[:128] + element(15, packed)
    tracemalloc.start()
    with pytest.raises(ValueError, match="too many dimensions, or too long a name") as raised:
        matlab_masks.read(content, "part_mask")
    assert len(str(raised.value)) < 200
    assert tracemalloc.get_traced_memory()[1] < 4 * len(header)
    tracemalloc.stop()
