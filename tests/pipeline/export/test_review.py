"""COCO instances: pycocotools reads the masks of the run from them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline.export.review import write_review
from pipeline.masks.by_video import MaskSource
from pipeline.runs.run import Run
from schemas.errors import InputError
from tests.handmade import rows_of, run_of_truth


def test_the_reference_reader_finds_the_masks(labelled_run, tmp_path):
    source = MaskSource.open(labelled_run.folder)
    made = write_review(source, str(tmp_path))
    assert made.counts == {"videos": 3, "pairs": 9, "masks": 108, "failed": 0}
    pair = list(source.videos())[1][2]
    read = COCO(str(tmp_path / "shapes-0001.json"))
    category = read.loadCats([3])[0]
    assert category["name"] == f"2: {pair.row['expression']}"
    for row, annotation in zip(pair.rows(), read.loadAnns(read.getAnnIds(catIds=[3])), strict=True):
        assert annotation["image_id"] == row["frame_index"] + 1
        np.testing.assert_array_equal(read.annToMask(annotation), pair.mask(row))
        assert annotation["score"] == pytest.approx(row["score"])
    assert read.loadImgs([1])[0]["file_name"] == "frame_000000.jpg"  # of a video file


def test_frames_of_a_folder_keep_their_file_names(tmp_path):
    (tmp_path / "v").mkdir()
    for name in ("00000.jpg", "00001.png", "00002.JPG"):
        Image.new("RGB", (2, 2)).save(tmp_path / "v" / name)
    pq.write_table(rows_of("v", "0"), tmp_path / "p.parquet")
    row = {"video_id": "v", "video_uri": "v", "expression_id": "0", "expression": "x"}
    pq.write_table(pq.read_table(tmp_path / "p.parquet").from_pylist([row]), tmp_path / "m.parquet")
    for uri in ("v", "gone"):
        write_review(MaskSource.open(str(tmp_path / "p.parquet"), str(tmp_path / "m.parquet")), str(tmp_path / uri))
    document = json.loads((tmp_path / "v/v.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["00000.jpg", "00001.png", "00002.JPG"]


def test_failed_pairs_are_counted_and_ids_stay_inside(shapes, tmp_path):
    run: Run = run_of_truth(str(tmp_path / "run"), *shapes, failed=(("shapes-0000", "0"),))
    assert write_review(MaskSource.open(run.folder), str(tmp_path / "out")).counts["failed"] == 1
    pq.write_table(rows_of("../up", "0"), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="cannot be a file name"):
        write_review(MaskSource.open(str(tmp_path / "p.parquet")), str(tmp_path / "out"))
    assert not (tmp_path / "up.json").exists()
    pq.write_table(rows_of("_export", "0"), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="video_id=_export .*_export.json is reserved for the export itself"):
        write_review(MaskSource.open(str(tmp_path / "p.parquet")), str(tmp_path / "out"))


def test_an_image_keeps_its_name(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "COCO_9.v2.JPG")
    row = rows_of("v", "0", 1).to_pylist()[0] | {"frame_name": "COCO_9.v2"}
    pq.write_table(pa.Table.from_pylist([row], schema=rows_of("v", "0").schema), tmp_path / "p.parquet")
    asked = {"video_id": "v", "video_uri": "COCO_9.v2.JPG", "expression_id": "0", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([asked]), tmp_path / "m.parquet")
    write_review(MaskSource.open(str(tmp_path / "p.parquet"), str(tmp_path / "m.parquet")), str(tmp_path / "out"))
    (image,) = json.loads((tmp_path / "out/v.json").read_text())["images"]
    assert image["file_name"] == "COCO_9.v2.JPG"
