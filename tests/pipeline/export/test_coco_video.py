"""COCO for video: structure, RLEs, null masks, identical bytes, broken input."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.export.coco_video import write_coco_video
from pipeline.io import parquet
from pipeline.masks.by_video import MaskSource
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS


def written(source: MaskSource, out) -> dict:
    write_coco_video(source, str(out))
    return json.loads(out.read_text())


def test_each_pair_is_a_track_with_the_same_rles(labelled_run, shapes, tmp_path):
    document = written(MaskSource.open(labelled_run.folder), tmp_path / "c.json")
    videos = {video["id"]: video for video in document["videos"]}
    assert [video["name"] for video in videos.values()] == [f"shapes-{number:04}" for number in range(3)]
    assert videos[1] | {"file_names": None} == {
        "id": 1, "name": "shapes-0000", "width": 128, "height": 96, "length": 12, "file_names": None
    }  # fmt: skip
    assert videos[1]["file_names"][:2] == ["shapes-0000/00000.jpg", "shapes-0000/00001.jpg"]
    assert [track["id"] for track in document["annotations"]] == list(range(1, 10))
    texts = {(row["video_id"], row["expression_id"]): row["expression"] for row in pq.read_table(shapes[0]).to_pylist()}
    truth = {
        (row["video_id"], row["object_id"], row["frame_index"]): row["counts"]
        for row in parquet.read_table(shapes[1]).to_pylist()
    }
    for track in document["annotations"]:
        video = videos[track["video_id"]]["name"]
        assert track["expression"] == texts[video, track["expression_id"]]
        assert len(track["segmentations"]) == len(track["bboxes"]) == len(track["areas"]) == len(track["scores"]) == 12
        for frame, found in enumerate(track["segmentations"]):
            counts = truth[video, track["expression_id"], frame]
            assert (found and found["counts"].encode()) == counts
            mask = coco.decode(found)  # as text, which is how JSON has it
            assert track["areas"][frame] == mask.sum()
            assert track["bboxes"][frame][2] == np.ptp(np.flatnonzero(mask.any(0))) + 1


def test_empty_masks_and_frames_without_a_row_are_null(tmp_path):
    full = rle.encode(np.ones((1, 2, 2), bool))[0]
    common = {"video_id": "v", "height": 2, "width": 2, "status": "ok"}
    rows = [
        common | {"expression_id": "0", "frame_index": 0, "counts": full},
        common | {"expression_id": "0", "frame_index": 2, "counts": rle.empty(2, 2)},
        common | {"expression_id": "1", "frame_index": 1, "counts": full},
        {"video_id": "v", "expression_id": "2", "status": "oom", "error": "no memory"},
        {"video_id": "w", "expression_id": "0", "status": "oom", "error": "no memory"},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), tmp_path / "p.parquet")
    source = MaskSource.open(str(tmp_path / "p.parquet"))
    document = written(source, tmp_path / "c.json")
    assert [video["name"] for video in document["videos"]] == ["v"]
    assert [[one is not None for one in track["segmentations"]] for track in document["annotations"]] == [
        [True, False, False],
        [False, True, False],
    ]
    assert write_coco_video(source, str(tmp_path / "c.json")).counts["failed"] == 2


def test_the_same_bytes_each_time_and_valid_json_without_pairs(labelled_run, tmp_path):
    source = MaskSource.open(labelled_run.folder)
    written(source, tmp_path / "a.json")
    written(source, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    pq.write_table(PREDICTIONS.empty_table(), tmp_path / "none.parquet")
    write_coco_video(MaskSource.open(str(tmp_path / "none.parquet")), str(tmp_path / "c.json"))
    assert json.loads((tmp_path / "c.json").read_text())["annotations"] == []


@pytest.mark.parametrize("ids", [{"video_id": "../v"}, {"frame_name": "../../v"}])
def test_ids_cannot_leave_the_folder(tmp_path, ids):
    row = {"video_id": "v", "expression_id": "0", "frame_index": 0, "height": 2, "width": 2, "counts": b"4"}
    pq.write_table(pa.Table.from_pylist([row | ids], schema=PREDICTIONS), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="cannot be a file name"):
        written(MaskSource.open(str(tmp_path / "p.parquet")), tmp_path / "c.json")


def test_a_score_that_is_not_finite_is_refused(tmp_path):
    row = {"video_id": "v", "expression_id": "0", "frame_index": 0, "height": 2, "width": 2, "counts": b"04"}
    scores = {"score": float("nan"), "pair_score": float("nan")}
    pq.write_table(pa.Table.from_pylist([row | scores], schema=PREDICTIONS), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="frame 0: score is nan, not 0 to 1; scale the scores, or write null"):
        written(MaskSource.open(str(tmp_path / "p.parquet")), tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()


def test_a_broken_mask_is_named_and_leaves_nothing(tmp_path):
    rows = [{"video_id": "v", "expression_id": "0", "frame_index": 0, "height": 2, "width": 2, "counts": b"9"}]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="video_id=v expression_id=0: frame 00000: runs total 9"):
        written(MaskSource.open(str(tmp_path / "p.parquet")), tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
