"""J and F of every golden frame, to the last bit, and the means over tracks."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluation.pairs import pairs_of_truth
from pipeline.evaluation.scoring import score_pairs
from pipeline.evaluation.truth import Truth

COUNTS = ("inter", "union", "n_gt", "n_pred", "gt_match", "pred_match")


@pytest.fixture(scope="module")
def metrics(golden) -> Path:
    return Path(os.environ.get("RVOS_METRICS_DIR", golden / "metrics"))


@pytest.fixture(scope="module")
def scored(metrics):
    truth = Truth.open(str(metrics / "gt.parquet"))
    scores, problems = score_pairs(pairs_of_truth(truth, False), pq.read_table(metrics / "pred.parquet"), truth)
    assert not problems
    return scores


def test_frames(metrics, scored):
    expected = {}
    for row in pq.read_table(metrics / "expected_frames.parquet").to_pylist():
        expected[row["video_id"], row["expression_id"], row["frame_index"]] = row
    found = 0
    for score in scored:
        for index, j, f in zip(score.frame_indices.tolist(), score.j, score.f, strict=True):
            row = expected[(*score.pair.key, index)]
            assert (j, f) == (row["J"], row["F"]), row
            found += 1
    assert found == len(expected)


def test_counts(metrics):
    from pipeline.evaluation import kernel

    truth, prediction = (pq.read_table(metrics / name) for name in ("gt.parquet", "pred.parquet"))
    expected = pq.read_table(metrics / "expected_frames.parquet")
    rows = len(truth)
    strings = pa.concat_tables([truth, prediction])["counts"].cast(pa.large_binary()).combine_chunks()
    _, starts, data = strings.buffers()
    counts, errors = kernel.score_frames(
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
    np.testing.assert_array_equal(counts, np.stack([expected[name].to_numpy() for name in COUNTS], axis=1))


def test_tracks(metrics, scored):
    expected = json.loads((metrics / "expected_tracks.json").read_text())
    means = {score.pair.key: (score.j.mean(), score.f.mean()) for score in scored}
    for track in expected["tracks"]:
        wanted = track["all_frames"]["J"]["mean"], track["all_frames"]["F"]["mean"]
        assert means[track["video_id"], track["expression_id"]] == pytest.approx(wanted, abs=1e-12)
