"""`--no-target-below`, `presence` and `quality`: a checkpoint with a quality head can say that nothing is meant."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refervos
from jobs import audit, segment, select
from jobs.config.audit import AuditConfig
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from model.families import check_checkpoint, load_segmenter
from model.referformer.checkpoint import load_model, save_checkpoint
from model.referformer.config import QualityConfig
from model.referformer.network.referformer import with_quality_head
from pipeline.io import parquet
from pipeline.runs.run import Run
from schemas import rle
from schemas.errors import InputError

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def headed(checkpoint, tmp_path_factory) -> str:
    """The small checkpoint with an untrained quality head, whose threshold keeps all masks."""
    torch.manual_seed(3)
    model = with_quality_head(load_model(checkpoint), QualityConfig(hidden_dim=8))
    folder = str(tmp_path_factory.mktemp("headed") / "checkpoint")
    save_checkpoint(folder, model.config, model.state_dict(), checkpoint, 64)
    return folder


@pytest.fixture(scope="module")
def rated(shapes, ray_session, headed, tmp_path_factory) -> tuple[str, pa.Table]:
    """A run of the checkpoint with the head, and its rows."""
    return segmented(shapes, headed, str(tmp_path_factory.mktemp("rated") / "run"))


def segmented(shapes, checkpoint: str, folder: str, **options) -> tuple[str, pa.Table]:
    segment.run(SegmentConfig(manifest=shapes[0], run=folder, checkpoint=checkpoint, short_side=64, **options))
    run = Run.open(folder)
    rows = pa.concat_tables([parquet.read_table(run.masks_uri(unit.unit_id)) for unit in run.units()])
    return folder, rows.sort_by([(name, "ascending") for name in ("video_id", "expression_id", "frame_index")])


def first_video(shapes) -> tuple[str, str]:
    """The path of the first video, and its first sentence."""
    row = pq.read_table(shapes[0]).slice(0, 1).to_pylist()[0]
    return str(Path(shapes[0]).parent / row["video_uri"]), row["expression"]


def test_every_row_of_a_pair_has_its_presence_and_quality(rated):
    for name in ("presence", "quality"):
        values = rated[1].group_by(["video_id", "expression_id"]).aggregate([(name, "count_distinct")])
        assert set(values[f"{name}_count_distinct"].to_pylist()) == {1}
    pairs = zip(rated[1]["presence"].to_pylist(), rated[1]["quality"].to_pylist(), strict=True)
    assert all(0 < quality < presence < 1 for presence, quality in pairs)


def test_pairs_below_the_threshold_get_empty_masks_and_the_others_keep_theirs(rated, shapes, headed, tmp_path):
    values = sorted(set(rated[1]["presence"].to_pylist()))
    threshold = (values[3] + values[4]) / 2
    folder, cut = segmented(shapes, headed, str(tmp_path / "cut"), no_target_below=threshold)
    for before, after in zip(rated[1].to_pylist(), cut.to_pylist(), strict=True):
        assert after["presence"] == pytest.approx(before["presence"], abs=1e-5)
        if before["presence"] < threshold:
            assert after["quality"] == pytest.approx(1 - before["presence"], abs=1e-5)  # that of an empty mask
            assert after["counts"] == rle.empty(before["height"], before["width"])
            assert after["box"] == [0.0] * 4
        else:
            assert after["quality"] == pytest.approx(before["quality"], abs=1e-5)
            assert after["counts"] == before["counts"]
            assert any(after["box"])
    assert audit.run(AuditConfig(run=folder)).exit_code == 0


def test_python_gives_the_masks_of_a_run_and_a_head_changes_none(rated, headed, checkpoint, shapes):
    video, sentence = first_video(shapes)
    for folder in (headed, checkpoint):
        found = refervos.load_model(folder, device="cpu", short_side=64).segment(video, sentence)[0]
        assert found.counts == rated[1]["counts"].to_pylist()[: len(found.counts)]


@pytest.mark.parametrize("windows", [{}, {"window": 6}, {"window": 6, "overlap": 2}])
def test_python_empties_the_masks_too(headed, shapes, windows):
    model = refervos.load_model(headed, device="cpu", short_side=64, no_target_below=1.0)
    (found,) = model.segment(*first_video(shapes), **windows)
    assert len(found.counts) == 12
    assert not found.masks.any()
    assert not np.any(found.boxes)


def test_select_takes_the_quality_for_a_rule(rated, tmp_path):
    bound = float(np.median(rated[1]["quality"].to_numpy()))
    out = str(tmp_path / "kept")
    select.run(SelectConfig(run=rated[0], out=out, rule=(f"predicted_quality >= {bound!r}",)))
    pairs = pq.read_table(Path(out) / "pairs.parquet")
    assert pairs["predicted_quality"].null_count == 0
    assert pairs["keep"].to_pylist() == [value >= bound for value in pairs["predicted_quality"].to_pylist()]
    assert 0 < sum(pairs["keep"].to_pylist()) < len(pairs)


def test_the_threshold_is_part_of_the_fingerprint_only_where_it_differs_from_the_checkpoint(headed):
    config = SegmentConfig(manifest="", run="", checkpoint=headed)
    inputs, fingerprint, _ = segment.check_model(config)
    assert "no_target_below" not in inputs
    assert segment.check_model(replace(config, no_target_below=0.0))[1] == fingerprint
    assert segment.check_model(replace(config, no_target_below=0.5))[0] == inputs | {"no_target_below": 0.5}


def test_a_checkpoint_without_the_head_refuses_the_option(checkpoint, headed):
    assert check_checkpoint(checkpoint).no_target_below is None
    assert check_checkpoint(headed).no_target_below == 0.0
    with pytest.raises(InputError, match="--no-target-below needs a checkpoint that predicts if") as refused:
        segment.check_model(SegmentConfig(manifest="", run="", checkpoint=checkpoint, no_target_below=0.4))
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="no_target_below needs a checkpoint with a quality head"):
        load_segmenter(checkpoint, device="cpu", no_target_below=0.4)
    with pytest.raises(InputError, match="no_target_below needs a checkpoint with a quality head"):
        refervos.load_model(checkpoint, no_target_below=0.4)
