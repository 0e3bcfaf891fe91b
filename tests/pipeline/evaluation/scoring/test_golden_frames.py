"""J and F of every golden frame, to the last bit, and the means over tracks."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.scoring.tasks import plan_scoring
from pipeline.masks.annotations import Annotations
from pipeline.masks.pairs_to_score import pairs_from_annotations
from pipeline.masks.predictions import ParquetPredictions

COUNTS = ("inter", "union", "n_gt", "n_pred", "gt_match", "pred_match")


@pytest.fixture(scope="module")
def scored(recordings):
    truth = Annotations.open(str(recordings / "gt.parquet"))
    source = ParquetPredictions((str(recordings / "pred.parquet"),))
    tasks, extra, _ = plan_scoring(
        source, pairs_from_annotations(truth.keys_by_video(), truth.key, False), whole_videos=False
    )
    assert not extra
    scorer = Scorer(source=source, truth=truth, protocol=PROTOCOLS["all-frames"])
    return [row for task in tasks for row in scorer(task).to_pylist()]


def test_frames(recordings, scored):
    expected = {}
    for row in pq.read_table(recordings / "expected_frames.parquet").to_pylist():
        expected[row["video_id"], row["expression_id"], row["frame_index"]] = row
    found = 0
    for score in scored:
        for index, j, f in zip(score["frame_index"], score["J"], score["F"], strict=True):
            row = expected[score["video_id"], score["expression_id"], index]
            assert (j, f) == (row["J"], row["F"]), row
            found += 1
    assert found == len(expected)


def test_counts(recordings):
    from pipeline.evaluation.metrics import count_pixels

    truth, prediction = (pq.read_table(recordings / name) for name in ("gt.parquet", "pred.parquet"))
    expected = pq.read_table(recordings / "expected_frames.parquet")
    rows = len(truth)
    strings = pa.concat_tables([truth, prediction])["counts"].cast(pa.large_binary()).combine_chunks()
    _, starts, data = strings.buffers()
    counts, errors = count_pixels.score_frames(
        np.frombuffer(data, np.uint8),
        np.frombuffer(starts, np.int64)[: 2 * rows + 1],
        np.arange(rows + 1),
        np.arange(rows),
        np.arange(rows, 2 * rows),
        np.full(rows, -1),
        truth["height"].to_numpy().astype(np.int64),
        truth["width"].to_numpy().astype(np.int64),
    )
    assert not errors.any()
    np.testing.assert_array_equal(counts[:, :6], np.stack([expected[name].to_numpy() for name in COUNTS], axis=1))


def test_tracks(recordings, scored):
    expected = json.loads((recordings / "expected_tracks.json").read_text())
    means = {(score["video_id"], score["expression_id"]): tuple(score["values"][:2]) for score in scored}
    for track in expected["tracks"]:
        wanted = track["all_frames"]["J"]["mean"], track["all_frames"]["F"]["mean"]
        assert means[track["video_id"], track["expression_id"]] == pytest.approx(wanted, abs=1e-12)
