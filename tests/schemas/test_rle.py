import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from schemas import rle

ALPHABET = bytes(range(48, 112))


def blobs(rng, count, height, width):
    return rng.random((count, height, width)) < rng.random((count, 1, 1))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 1), (5, 8), (64, 3), (48, 64)])
def test_round_trip_in_either_memory_layout(height, width):
    masks = blobs(np.random.default_rng(0), 20, height, width)
    columns = np.ascontiguousarray(masks.transpose(0, 2, 1)).transpose(0, 2, 1)
    for layout in (masks, columns, masks.astype(np.uint8) * 255):
        strings = rle.encode(layout)
        for mask, counts in zip(masks, strings, strict=True):
            np.testing.assert_array_equal(rle.decode(counts, height, width), mask)
            np.testing.assert_array_equal(coco.decode({"size": [height, width], "counts": counts}), mask)


def test_masks_by_column_are_encoded_without_a_copy(monkeypatch):
    masks = np.zeros((3, 7, 5), bool).transpose(0, 2, 1)
    seen = []
    monkeypatch.setattr(rle.coco, "encode", lambda array: seen.append(array) or [])
    rle.encode(masks)
    assert np.shares_memory(seen[0], masks)
    assert seen[0].flags.f_contiguous


@pytest.mark.parametrize("masks", [np.zeros((2, 2), bool), np.zeros((1, 2, 2)), np.zeros((0, 2, 2), bool)])
def test_what_is_no_stack_of_masks_is_refused(masks):
    with pytest.raises(ValueError, match="masks"):
        rle.encode(masks)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (480, 854), (1080, 1920)])
def test_empty(size):
    assert rle.empty(*size) == rle.encode(np.zeros((1, *size), bool))[0]
    assert not rle.decode(rle.empty(*size), *size).any()


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (100_000, 100_000), (1, rle.MAX_SIDE + 1)])
def test_absurd_sizes_are_refused_before_memory_is_taken(size):
    for call in (lambda: rle.check(b"04", *size), lambda: rle.decode(b"04", *size), lambda: rle.empty(*size)):
        with pytest.raises(rle.RleError, match="frame size"):
            call()


def test_known_broken_strings(recordings):
    words = {"total": "total", "no runs": "empty", "continuation": "truncated", "outside": "outside"}
    words["zero"] = "negative"
    for case in json.loads((recordings / "bad_rle.json").read_text())["cases"]:
        counts = base64.b64decode(case["counts_base64"])
        if case["expect"] == "accept":
            size = [case["height"], case["width"]]
            np.testing.assert_array_equal(rle.decode(counts, *size), coco.decode({"size": size, "counts": counts}))
            continue
        word = next(word for reason, word in words.items() if reason in case["reason"])
        with pytest.raises(rle.RleError, match=word):
            rle.check(counts, case["height"], case["width"])


@pytest.mark.parametrize("counts", [b"P" * 7 + b"0", b"o" * 40 + b"0", b"5oooooo0", b"\x00", b"04\x00", b"04 "])
def test_more_broken_strings(counts):
    with pytest.raises(rle.RleError):
        rle.check(counts, 2, 2)


def test_runs_that_32_bits_would_wrap_are_refused():
    value, text = 2**32 + 5, bytearray()
    while value > 15:
        text.append((value & 31 | 32) + 48)
        value >>= 5
    text.append(value + 48)
    with pytest.raises(rle.RleError, match="runs total 4294967301"):
        rle.check(bytes(text), 1, 5)


@given(
    st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(ALPHABET), max_size=12).map(bytes)),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_any_bytes_are_refused_or_are_a_mask(counts, height, width):
    try:
        mask = rle.decode(counts, height, width)
    except rle.RleError:
        return
    assert mask.shape == (height, width)
    np.testing.assert_array_equal(coco.decode({"size": [height, width], "counts": counts}), mask)


def test_from_runs():
    assert rle.from_runs([0, 2, 4], 2, 3) == rle.encode(np.array([[[1, 0, 0], [1, 0, 0]]], bool))[0]
    assert rle.from_runs([6], 2, 3) == rle.empty(2, 3)
    assert rle.from_runs([3.0, 3.0], 2, 3) == rle.from_runs([3, 3], 2, 3)
    for runs in ([], [5], [7], [-1, 7], [3.5, 2.5], [True, 5], [2**70], [2.0**70], [float("nan")], ["6"]):
        with pytest.raises(rle.RleError):
            rle.from_runs(runs, 2, 3)
