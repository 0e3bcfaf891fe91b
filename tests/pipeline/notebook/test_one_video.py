"""One video in this process gives the masks of a run, and errors that say what is wrong."""

import numpy as np
import pytest

import refervos
from model.families import load_segmenter
from pipeline.io import parquet
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from pipeline.video import Selection, read_frames
from tests.one_unit import segment_unit


@pytest.fixture(scope="module")
def model(checkpoint) -> refervos.Model:
    return refervos.load_model(checkpoint, device="cpu", short_side=64)


@pytest.fixture(scope="module")
def rows(shapes) -> list[dict]:
    return [row for row in refervos.read_pairs(shapes[0]).to_pylist() if row["video_id"] == "shapes-0000"]


@pytest.mark.parametrize(
    "options", [{}, {"window": 5}, {"window": 5, "overlap": 2}, {"window": None}, {"frame_step": 3}], ids=str
)
def test_masks_are_those_of_a_unit(model, checkpoint, rows, tmp_path, options):
    uri = str(tmp_path / "unit.parquet")
    segmenter = load_segmenter(checkpoint, device="cpu", short_side=64)
    segment_unit(UnitJob(unit_id="0", fingerprint="", uri=uri, rows=rows), segmenter, FrameOptions(**options))
    wanted = parquet.read_table(uri)
    found = model.segment(rows[0]["video_uri"], [row["expression"] for row in rows], **options)
    assert [counts for video in found for counts in video.counts] == wanted["counts"].to_pylist()
    assert np.concatenate([video.scores for video in found]).tolist() == wanted["score"].to_pylist()
    assert np.concatenate([video.boxes for video in found]).tolist() == wanted["box"].to_pylist()
    assert [name for video in found for name in video.frame_names] == wanted["frame_name"].to_pylist()
    assert [index for video in found for index in video.frame_indices] == wanted["frame_index"].to_pylist()


def test_frames_in_memory_give_the_masks_of_their_file(model, rows):
    frames = np.stack([frame.image for frame in read_frames(rows[0]["video_uri"], Selection())])
    wanted = model.segment(rows[0]["video_uri"], "the red circle", frame_step=2)[0]
    for video in (frames, list(frames)):
        (found,) = model.segment(video, "the red circle", frame_step=2)
        assert found.counts == wanted.counts
        assert found.frame_indices == [0, 2, 4, 6, 8, 10]
        assert (np.asarray(found.draw(3)) == np.asarray(wanted.draw(3))).all()


def test_masks_and_drawing(model, rows):
    (found,) = model.segment(rows[0]["video_uri"], "the red circle")
    assert found.masks.shape == (12, 96, 128)
    assert found.masks.dtype == bool
    assert found.masks.any()
    assert [found.draw(frames).width // 128 for frames in (1, 4, 100)] == [1, 4, 12]
    assert "red circle" in repr(found)
    assert len(repr(found)) < 100


FRAMES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("video", "expressions", "options", "message"),
    [
        ("absent.mp4", "a cat", {}, "expression 'a cat': missing: .*absent.mp4 does not exist"),
        (FRAMES, ["a cat", " "], {}, "expression ' ': the expression is empty"),
        (FRAMES, "a " * 600, {}, "bad_row: the expression has .* tokens"),
        (FRAMES.astype(float), "a cat", {}, r"frame 0 must be uint8 \[H, W, 3\], got float64"),
        (FRAMES[0], "a cat", {}, "frame 0 must be uint8"),
        ([FRAMES[0], FRAMES[0, :32]], "a cat", {}, "frame 1: .* frame size changes"),
        ([], "a cat", {}, "there are no frames"),
        (FRAMES, "a cat", {"window": 2, "overlap": 2}, "below window: got window=2, overlap=2"),
        (FRAMES, "a cat", {"window": 0}, "must be a whole number of at least 1, got 0"),
        ("absent.mp4", "a cat", {"decoder": "vlc"}, "unknown decoder 'vlc'"),
    ],
)
def test_errors_are_of_refervos_and_say_what_is_wrong(model, video, expressions, options, message):
    with pytest.raises(refervos.RvosError, match=message):
        model.segment(video, expressions, **options)


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("absent", {}, "absent does not exist; pass a checkpoint folder"),
        ("tiny", {"device": "tpu"}, "unknown device"),
        ("tiny", {"threshold": 2}, "0 and 1"),
    ],
)
def test_a_model_that_cannot_be_loaded(checkpoint, options, message):
    with pytest.raises(refervos.RvosError, match=message):
        refervos.load_model(checkpoint, **options)
