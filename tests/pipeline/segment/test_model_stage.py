"""Windows through the model: failures stay with their pair, and overlapping windows share their frames."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.runs.commit import SECONDS, read_receipt
from pipeline.segment.clips import FrameOptions
from schemas import rle
from schemas.errors import InfrastructureError
from schemas.masks import PREDICTIONS
from tests.one_unit import segment_unit
from tests.pipeline.segment.fake import FakeSegmenter, segment, unit_job


def test_every_frame_of_every_pair_is_a_row(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "b"])
    assert table.schema.equals(PREDICTIONS)
    assert [call[:2] for call in segmenter.calls] == [(3, ["a", "b"]), (2, ["a", "b"])]
    assert table["expression_id"].to_pylist() == ["0"] * 5 + ["1"] * 5
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    first = table.to_pylist()[0]
    assert (first["frame_name"], first["height"], first["width"], first["query"]) == ("00000", 20, 30, 3)
    assert first["margin"] == 0.25
    assert rle.decode(first["counts"], 20, 30).sum() == 300
    assert first["box"] == [0, 0, 15, 20]
    assert first["pair_score"] == pytest.approx(np.mean([0.2, 0.3, 0.4, 0.2, 0.4]))
    assert (first["status"], first["error"]) == ("ok", None)
    assert (receipt.pairs, receipt.frames, receipt.failed) == (2, 10, {})
    assert all(receipt.seconds[stage] > 0 for stage in SECONDS)
    assert read_receipt(str(tmp_path / "u.parquet")).pairs == 2


def test_one_bad_row_costs_one_row(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "", "word " * 600, "nan", "b"])
    errors = {row["expression_id"]: row for row in table.to_pylist() if row["status"] != "ok"}
    assert {key: row["status"] for key, row in errors.items()} == {"1": "bad_row", "2": "bad_row", "3": "nan"}
    assert errors["1"]["error"].startswith("video_id=v expression_id=1: the expression is empty")
    assert "602 tokens" in errors["2"]["error"]
    assert "frames 00000 to 00002" in errors["3"]["error"]
    assert all(row["counts"] is None and row["frame_index"] is None for row in errors.values())
    assert receipt.failed == {"bad_row": 2, "nan": 1}
    assert receipt.frames == 10


def test_out_of_memory_gives_an_error_row_with_a_way_out(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["out of memory"])
    assert receipt.failed == {"oom": 1}
    text = table["error"][0].as_py()
    assert "frame 00000: out of memory on a window of 3 frames (no memory left); use --retry-errors with a" in text


def test_only_the_pair_that_runs_out_of_memory_fails(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "out of memory", "b"])
    assert receipt.failed == {"oom": 1}
    assert (receipt.pairs, receipt.frames) == (3, 10)
    assert [call[1] for call in segmenter.calls] == [
        ["a", "out of memory", "b"], ["out of memory"], ["b"],  # the first window: those not through, alone
        ["a", "b"],
    ]  # fmt: skip
    assert table.filter(pc.equal(table["expression_id"], "0"))["frame_index"].to_pylist() == list(range(5))


def test_no_memory_to_encode_masks_costs_their_pair_only(tmp_path, video, monkeypatch):
    encode, refusals = rle.encode, iter([MemoryError])

    def short_of_memory(masks):
        for refusal in refusals:
            raise refusal
        return encode(masks)

    monkeypatch.setattr(rle, "encode", short_of_memory)
    table, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert (receipt.failed, receipt.frames) == ({"oom": 1}, 5)
    assert "expression_id=0: frame 00000: no memory on the host to encode masks" in table["error"].to_pylist()[0]


def test_the_window_is_never_reduced(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "needs much memory"])
    assert receipt.failed == {"oom": 1}
    assert set(table.filter(pc.equal(table["status"], "ok"))["window"].to_pylist()) == {3, 2}


def test_other_errors_of_the_model_are_raised(tmp_path, video):
    with pytest.raises(InfrastructureError, match="RuntimeError: shapes do not fit"):
        segment(tmp_path, video, ["defect"])
    assert not (tmp_path / "u.parquet").exists()


def test_a_video_that_cannot_be_read_gives_one_row_for_each_pair(tmp_path, video):
    (tmp_path / "video" / "00004.png").write_bytes(b"not an image")
    table, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert table.num_rows == 2
    assert receipt.failed == {"corrupt": 2}
    assert "frame 00004" in table["error"][1].as_py()


def test_only_target_frames_are_output_and_the_rest_is_context(tmp_path, video):
    table, _, segmenter = segment(tmp_path, video, ["a"], target_frames=["00001", "00004"])
    assert segmenter.calls == [(3, ["a"], [1]), (2, ["a"], [1])]
    assert table["frame_name"].to_pylist() == ["00001", "00004"]


def test_windows_without_a_target_frame_are_not_segmented(tmp_path, video):
    _, _, segmenter = segment(tmp_path, video, ["a"], target_frames=["00004"])
    assert segmenter.calls == [(2, ["a"], [1])]


SHARING = FrameOptions(window=3, overlap=1)  # of 5 frames: 0 to 2 and 2 to 4


def test_frames_that_windows_share_are_written_once_and_tracks_handed_on(tmp_path, video):
    table, receipt, segmenter = segment(tmp_path, video, ["a", "b"], SHARING)
    assert segmenter.calls == [(3, ["a", "b"], None), (3, ["a", "b"], None)]
    assert [(o.start, o.final, o.tracks) for o in segmenter.overlaps] == [
        (0, 2, [None, None]),
        (2, 5, ["a from 0", "b from 0"]),
    ]
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    assert table["expression_id"].to_pylist() == ["0"] * 5 + ["1"] * 5
    assert table["window"].to_pylist() == [3] * 10
    assert receipt.frames == 10
    assert table["pair_score"][0].as_py() == pytest.approx(np.mean([0.2, 0.4, 0.2, 0.3, 0.4]))


def test_without_overlap_the_model_gets_none(tmp_path, video):
    _, _, segmenter = segment(tmp_path, video, ["a"])
    assert segmenter.overlaps == [None, None]


def test_target_frames_of_windows_that_share_frames(tmp_path, video):
    table, _, segmenter = segment(tmp_path, video, ["a"], SHARING, target_frames=["00002", "00003"])
    assert segmenter.calls == [(3, ["a"], [2]), (3, ["a"], [0, 1])]  # both windows see 2, and the second one writes it
    assert table["frame_name"].to_pylist() == ["00002", "00003"]


def test_an_object_is_followed_over_windows_without_a_target_frame(tmp_path, video):
    options = FrameOptions(window=2, overlap=1)
    table, _, segmenter = segment(tmp_path, video, ["a"], options, target_frames=["00000", "00004"])
    assert [o.start for o in segmenter.overlaps] == [0, 3]
    assert segmenter.overlaps[1].tracks == ["a from 0"]
    assert table["frame_name"].to_pylist() == ["00000", "00004"]


def test_a_failure_in_a_later_window_leaves_one_row(tmp_path, video):
    table, receipt, _ = segment(tmp_path, video, ["a", "nan later"], SHARING)
    assert receipt.failed == {"nan": 1}
    rows = table.filter(pc.equal(table["expression_id"], "1")).to_pylist()
    assert [row["frame_index"] for row in rows] == [None]
    assert "frames 00002 to 00004" in rows[0]["error"]
    assert receipt.frames == 5
    (tmp_path / "u.parquet").unlink()
    (tmp_path / "video" / "00004.png").write_bytes(b"not an image")
    table, receipt, _ = segment(tmp_path, video, ["a", "b"], SHARING)
    assert (table.num_rows, receipt.failed) == (2, {"corrupt": 2})


class RatingSegmenter(FakeSegmenter):
    """Sees the object in windows of less than three frames only."""

    no_target_below = 0.5

    def segment(self, frames, *args, **options):
        presence, quality = (0.75, 0.5) if len(frames) < 3 else (0.25, 0.125)
        for found in super().segment(frames, *args, **options):
            yield replace(found, presence=presence, quality=quality)


@pytest.mark.parametrize(("window", "empty"), [(3, False), (5, True)])
def test_what_one_window_shows_is_there(tmp_path, video, window, empty):
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "0", "expression": "a"}]
    uri = str(tmp_path / "u.parquet")
    segment_unit(unit_job(uri, rows), RatingSegmenter(), FrameOptions(window=window))
    table = pq.read_table(uri)
    assert set(table["presence"].to_pylist()) == {0.25 if empty else 0.75}
    expected = 1 - 0.25 if empty else (3 * 0.125 + 2 * 0.5) / 5
    assert table["quality"].to_pylist() == pytest.approx([expected] * 5)
    assert [rle.decode(counts, 20, 30).any() for counts in table["counts"].to_pylist()] == [not empty] * 5
