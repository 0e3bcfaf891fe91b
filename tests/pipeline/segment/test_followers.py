"""A model that follows objects sees every window of a video, in order, with its position."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from model.segmenter import Segmentation, SegmenterStats
from pipeline.segment.clips import FrameOptions
from schemas import rle
from tests.one_unit import segment_unit
from tests.pipeline.segment.fake import unit_job


class Counting:
    """Marks as many columns of a frame as frames that its track has seen, this one included."""

    def __init__(self, lookahead=0, fail_once=()):
        self.lookahead, self.max_tokens = lookahead, 4
        self.fail_once = list(fail_once)  # (expression, start of the window)
        self.overlaps, self.keeps = [], []

    def count_tokens(self, expression):
        return len(expression.split())

    def prepare(self, frame):
        return frame

    def stats(self):
        return SegmenterStats()

    def segment(self, frames, size, expressions, keep=None, overlap=None):
        self.overlaps.append((overlap.start, overlap.final))
        self.keeps.append(keep)
        kept = range(len(frames)) if keep is None else keep
        for expression, track in zip(expressions, overlap.tracks, strict=True):
            seen = Counter(track)
            for place in range(overlap.start, overlap.start + len(frames)):
                seen[place] += place >= track.total() if track else 1
            if (expression, overlap.start) in self.fail_once:
                self.fail_once.remove((expression, overlap.start))
                raise torch.OutOfMemoryError("no memory left")
            places = [overlap.start + i for i in kept if overlap.start + i < overlap.final]
            masks = np.zeros((len(places), size[1], size[0]), bool)
            for mask, place in zip(masks, places, strict=True):
                mask[: sum(count for at, count in seen.items() if at <= place)] = True
            empty = np.zeros((len(places), 4), np.float32)
            ones = np.ones(len(places), np.float32)
            yield Segmentation(masks.transpose(0, 2, 1), ones, empty, None, None, True, track=seen, follows=True)


def follow(tmp_path, video, segmenter, expressions=("a",), window=2, overlap=0, **columns):
    rows = [
        {"video_id": "v", "video_uri": video, "expression_id": text, "expression": text} | columns
        for text in expressions
    ]
    uri = str(tmp_path / "u.parquet")
    receipt = segment_unit(unit_job(uri, rows), segmenter, FrameOptions(window=window, overlap=overlap))
    return pq.read_table(uri), receipt


def widths(table):
    return [int(rle.decode(row["counts"], 20, 30).any(0).sum()) for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("lookahead", "window", "overlap", "expected"),
    [
        (0, 2, 0, [(0, 2), (2, 4), (4, 5)]),
        (0, 9, 0, [(0, 5)]),
        (0, None, 0, [(0, 5)]),
        (1, 3, 0, [(0, 2), (2, 5)]),
        (1, 4, 2, [(0, 1), (1, 5)]),  # the option asks for more
        (2, 4, 1, [(0, 1), (1, 5)]),
    ],
)
def test_every_window_has_its_position_and_shares_as_many_frames_as_the_model_looks_ahead(
    tmp_path, video, lookahead, window, overlap, expected
):
    segmenter = Counting(lookahead)
    table, receipt = follow(tmp_path, video, segmenter, window=window, overlap=overlap)
    assert segmenter.overlaps == expected
    assert table["frame_index"].to_pylist() == list(range(5))
    assert widths(table) == [1, 2, 3, 4, 5]
    assert (receipt.pairs, receipt.frames) == (1, 5)
    assert (table["query"].null_count, table["window"].null_count) == (5, 5)
    assert table["chosen"].to_pylist() == [True] * 5


@pytest.mark.parametrize("lookahead", [0, 1])
def test_no_window_is_skipped(tmp_path, video, lookahead):
    segmenter = Counting(lookahead)
    table, receipt = follow(tmp_path, video, segmenter, target_frames=["00004"])
    assert segmenter.overlaps[0][0] == 0
    assert segmenter.keeps[0] == []
    assert table["frame_name"].to_pylist() == ["00004"]
    assert (widths(table), receipt.frames) == ([5], 1)


@pytest.mark.parametrize("start", [0, 2, 4])
@pytest.mark.parametrize("fails", ["a", "b", "c"])
def test_a_second_try_gives_the_same_masks(tmp_path, video, start, fails):
    plain, _ = follow(tmp_path, video, Counting(), "abc")
    again, receipt = follow(tmp_path / "again", video, Counting(fail_once=[(fails, start)]), "abc")
    assert not receipt.failed
    assert again.equals(plain)


def test_the_limit_of_tokens_is_that_of_the_model(tmp_path, video):
    table, receipt = follow(tmp_path, video, Counting(), ["one two three four", "one two three four five"])
    assert receipt.failed == {"bad_row": 1}
    (error,) = [text for text in table["error"].to_pylist() if text]
    assert "the expression has 5 tokens, at most 4 fit" in error
