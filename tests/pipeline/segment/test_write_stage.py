"""The object of a unit: its row groups, and its replacement when pairs are retried."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runs.commit import ReplacedObject, unit_pairs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.write_stage import error_row
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from tests.handmade import make_older
from tests.one_unit import segment_unit
from tests.pipeline.segment.fake import FakeSegmenter, segment, unit_job


def test_a_long_pair_is_several_row_groups_of_bounded_size(tmp_path, video, monkeypatch):
    monkeypatch.setattr("pipeline.segment.spool.ROWS_AT_ONCE", 2)
    table, _, _ = segment(tmp_path, video, ["a", "b"], FrameOptions(window=1))
    assert table["frame_index"].to_pylist() == list(range(5)) * 2
    file = pq.ParquetFile(tmp_path / "u.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1, 2, 2, 1]
    assert len(set(table["pair_score"].to_pylist())) == 1


def test_errors_are_done_again_and_the_good_rows_are_copied(tmp_path, video):
    before, receipt, _ = segment(tmp_path, video, ["a", "nan", "", "b"])
    assert receipt.failed == {"nan": 1, "bad_row": 1}
    uri = str(tmp_path / "u.parquet")
    replaced = ReplacedObject.read(uri, ["nan"])
    assert replaced.retried_pairs == {("v", "1")}
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    segmenter = FakeSegmenter()
    receipt = segment_unit(unit_job(uri, rows, replaced=replaced), segmenter, FrameOptions(window=3))
    assert (receipt.generation, receipt.pairs, receipt.frames, receipt.failed) == (1, 4, 15, {"bad_row": 1})
    assert (receipt.kept_pairs, receipt.kept_frames) == (3, 10)
    assert [call[1] for call in segmenter.calls] == [["a"], ["a"]]
    after = pq.read_table(uri)
    kept = pc.not_equal(after["expression_id"], "1")
    assert after.filter(kept).equals(before.filter(pc.not_equal(before["expression_id"], "1")))
    assert unit_pairs(uri) == {("v", str(i)) for i in range(4)}


def test_rows_without_margins_are_copied_too(tmp_path, video):
    segment(tmp_path, video, ["a", "nan"])
    uri = str(tmp_path / "u.parquet")
    make_older(uri)
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    job = unit_job(uri, rows, replaced=ReplacedObject.read(uri, ["nan"]))
    receipt = segment_unit(job, FakeSegmenter(), FrameOptions(window=3))
    assert (receipt.pairs, receipt.frames) == (2, 10)
    table = pq.read_table(uri)
    assert table.schema.equals(PREDICTIONS)
    assert table["margin"].to_pylist() == [None] * 5 + [0.25] * 5


def test_only_one_of_two_retries_replaces_the_unit(tmp_path, video):
    segment(tmp_path, video, ["a", "nan"])
    uri = str(tmp_path / "u.parquet")
    rows = [{"video_id": "v", "video_uri": video, "expression_id": "1", "expression": "a"}]
    both = [ReplacedObject.read(uri, ["nan"]) for _ in range(2)]
    receipts = [
        segment_unit(unit_job(uri, rows, replaced=replaced), FakeSegmenter(), FrameOptions(window=3))
        for replaced in both
    ]
    assert [receipt.fresh for receipt in receipts] == [True, False]
    assert [receipt.generation for receipt in receipts] == [1, 1]


def test_an_error_row_masks_secrets_in_the_error_and_not_in_the_ids():
    row = {"video_id": "https://host/v?part=1", "expression_id": "0"}
    (made,) = error_row(row, "missing", "cannot read https://host/v?signature=secret").to_pylist()
    assert made["video_id"] == row["video_id"]
    assert made["error"] == f"{PairKey.of(row)}: cannot read https://host/v?***"


def test_the_order_of_pairs_does_not_matter_to_which_unit_is_first(tmp_path, video):
    segment(tmp_path, video, ["a", "b"])
    _, receipt, _ = segment(tmp_path, video, ["a", "b"])
    assert not receipt.fresh
