"""Results as tables, and what cannot be read."""

import numpy as np
import pandas as pd
import pytest

import refervos
from schemas import rle


def test_masks_of_a_run(labelled_run):
    masks = refervos.read_masks(labelled_run.folder)
    assert len(masks) == 9 * 12
    assert masks.column_names[:3] == ["video_id", "expression_id", "frame_index"]
    some = refervos.read_masks(labelled_run.folder, ["shapes-0001"], ["expression_id", "height", "width", "counts"])
    assert some.column_names == ["expression_id", "height", "width", "counts"]
    decoded = refervos.decode_masks(some)
    assert decoded.shape == (36, 96, 128)
    assert decoded.dtype == bool
    assert rle.encode(decoded) == some["counts"].to_pylist()
    assert (refervos.decode_masks(some.to_pandas()) == decoded).all()


def test_pairs_of_a_run_and_of_a_manifest(labelled_run, shapes):
    pairs = refervos.read_pairs(labelled_run.folder)
    assert pairs.num_rows == 9
    assert set(pairs["expression"].to_pylist()) == set(refervos.read_pairs(shapes[0])["expression"].to_pylist())


def test_a_failed_pair_has_an_error_and_no_mask(run_with_failure):
    failed = refervos.read_masks(run_with_failure.folder, "shapes-0000")
    with pytest.raises(refervos.RvosError, match=r"row \d+ \(video_id=shapes-0000 expression_id=1\) has no mask"):
        refervos.decode_masks(failed)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"height": [], "width": [], "counts": []}, "no rows"),
        ({"height": [2], "width": [2]}, "no column counts"),
        ({"height": [2, 3], "width": [2, 2], "counts": [b"4", b"6"]}, "row 1 is 3x2, row 0 is 2x2"),
        ({"height": [2], "width": [2], "counts": [b"9"]}, "row 0: runs total"),
    ],
)
def test_rows_that_cannot_be_decoded(rows, message):
    with pytest.raises(refervos.RvosError, match=message):
        refervos.decode_masks(pd.DataFrame(rows))


def test_scores(labelled_run, shapes, tmp_path):
    from jobs import evaluate
    from jobs.config.evaluate import EvaluateConfig

    out = str(tmp_path / "scores")
    evaluate.run(EvaluateConfig(predictions=labelled_run.folder, annotations=shapes[1], out=out))
    scores = refervos.read_scores(out)
    assert len(scores) == 9
    assert np.allclose(scores["J&F"], 1)


@pytest.mark.parametrize("read", [refervos.read_masks, refervos.read_pairs, refervos.read_scores])
def test_what_is_not_there(read, tmp_path):
    with pytest.raises(refervos.RvosError, match="absent"):
        read(tmp_path / "absent")


@pytest.mark.parametrize("ids", ["zz", ["zz"], ("shapes-0001", "zz"), {"zz", "shapes-0001"}, ["zz"] * 2])
def test_a_video_that_is_not_there(labelled_run, ids):
    with pytest.raises(refervos.RvosError, match=r"has no rows of video_id=zz; read_pairs"):
        refervos.read_masks(labelled_run.folder, video_ids=ids)


def test_several_videos_that_are_not_there(labelled_run):
    with pytest.raises(refervos.RvosError, match=r"video_id=zz and 1 more of video_ids"):
        refervos.read_masks(labelled_run.folder, video_ids=["zz", "yy"])
    assert len(refervos.read_masks(labelled_run.folder, video_ids=[])) == 0


def test_an_unknown_column(labelled_run):
    with pytest.raises(refervos.RvosError, match="unknown column 'mask'"):
        refervos.read_masks(labelled_run.folder, columns=["mask"])
