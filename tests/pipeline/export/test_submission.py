"""Zips for servers: layout, content, completeness, and reading them again."""

import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.export.servers import SERVERS
from pipeline.export.submission import write_submission
from pipeline.export.validation import validate_submission
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from pipeline.masks.png_trees import DEFAULT_READING, PngTree
from pipeline.masks.predictions import open_predictions
from pipeline.masks.row_groups import read_row_groups
from pipeline.masks.tree_masks import TreeMasks
from schemas import rle
from schemas.errors import InputError
from tests.handmade import error_of, rows_of, run_of_truth


def made(run, out, server="ref-youtube-vos", missing="error", manifest=None) -> zipfile.ZipFile:
    write_submission(MaskSource.open(run, manifest), str(out), server=server, missing=missing)
    return zipfile.ZipFile(out)


@pytest.mark.parametrize(("server", "root"), [("ref-youtube-vos", "Annotations/"), ("mevis", ""), ("mevis-v2", "")])
def test_every_frame_is_in_the_folder_of_the_server(labelled_run, tmp_path, server, root):
    names = made(labelled_run.folder, tmp_path / "s.zip", server).namelist()
    assert names == [
        f"{root}shapes-{video:04}/{expression}/{frame:05}.png"
        for video in range(3)
        for expression in range(3)
        for frame in range(12)
    ]


def test_images_are_binary_gray_at_the_size_of_the_video(labelled_run, tmp_path):
    archive = made(labelled_run.folder, tmp_path / "s.zip")
    image = Image.open(io.BytesIO(archive.read("Annotations/shapes-0001/2/00007.png")))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (128, 96))
    assert set(np.unique(image)) == {0, 255}


def test_the_unpacked_zip_has_the_same_masks(labelled_run, tmp_path):
    made(labelled_run.folder, tmp_path / "s.zip").extractall(tmp_path / "tree")
    tree = PngTree.find(str(tmp_path / "tree"))
    assert tree
    back = {
        (row["video_id"], row["expression_id"], row["frame_name"]): row["counts"]
        for row in TreeMasks.read(tree, DEFAULT_READING).annotations()[0].to_pylist()
    }
    there = open_predictions(labelled_run.folder)
    rows = read_row_groups([row_group for row_group, _ in there.row_groups()]).to_pylist()
    assert back == {(row["video_id"], row["expression_id"], row["frame_name"]): row["counts"] for row in rows}
    assert len(back) == 108


def test_the_same_bytes_each_time_and_no_other_file(labelled_run, tmp_path):
    folder = tmp_path / "out"
    made(labelled_run.folder, folder / "a.zip")
    first = (folder / "a.zip").read_bytes()
    made(labelled_run.folder, folder / "a.zip")
    assert (folder / "a.zip").read_bytes() == first
    assert [path.name for path in folder.iterdir()] == ["a.zip"]


def test_a_failed_pair_is_refused_by_name_or_filled_in(run_with_failure, tmp_path):
    with pytest.raises(InputError, match="video_id=shapes-0000 expression_id=1: gone(.|\n)*--missing empty"):
        made(run_with_failure.folder, tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()
    archive = made(run_with_failure.folder, tmp_path / "s.zip", missing="empty")
    assert len(archive.namelist()) == 108
    image = Image.open(io.BytesIO(archive.read("Annotations/shapes-0000/1/00011.png")))
    assert image.size == (128, 96)
    assert not np.any(image)


def test_without_any_mask_of_a_video_its_frames_are_taken_from_itself(shapes, tmp_path):
    failed = tuple(("shapes-0000", expression) for expression in "012")
    run = run_of_truth(str(tmp_path / "run"), *shapes, failed=failed)
    archive = made(run.folder, tmp_path / "s.zip", missing="empty")
    assert [name for name in archive.namelist() if "shapes-0000/2/" in name] == [
        f"Annotations/shapes-0000/2/{frame:05}.png" for frame in range(12)
    ]


def test_frames_are_those_that_the_manifest_lists(labelled_run, shapes, tmp_path):
    rows = [row | {"frames": ["00003", "00001", "00044"]} for row in pq.read_table(shapes[0]).slice(0, 1).to_pylist()]
    rows[0]["video_uri"] = storage.join(storage.parent(shapes[0]), rows[0]["video_uri"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    manifest = str(tmp_path / "m.parquet")
    with pytest.raises(InputError, match="1 of 3 frames have no mask, the first is 00044"):
        made(labelled_run.folder, tmp_path / "s.zip", manifest=manifest)
    archive = made(labelled_run.folder, tmp_path / "s.zip", missing="empty", manifest=manifest)
    assert archive.namelist() == [f"Annotations/shapes-0000/0/{name}.png" for name in ("00003", "00001", "00044")]


def folder_of_three(tmp_path, asked: list[dict], masks: list[pa.Table]) -> MaskSource:
    """Predictions for a folder with frames a, b and c, and a manifest with the rows `asked`."""
    (tmp_path / "v").mkdir()
    for name in "abc":
        Image.new("RGB", (2, 2)).save(tmp_path / f"v/{name}.png")
    common = {"video_id": "v", "video_uri": "v", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([common | row for row in asked]), tmp_path / "m.parquet")
    pq.write_table(pa.concat_tables(masks), tmp_path / "p.parquet")
    return MaskSource.open(str(tmp_path / "p.parquet"), str(tmp_path / "m.parquet"))


def test_frames_are_those_whose_indices_the_manifest_lists(tmp_path):
    asked = [{"expression_id": name, "frame_indices": [2, 0]} for name in "01"]
    one = rows_of("v", "0", 1).to_pylist()[0] | {"frame_name": "a"}
    masks = pa.Table.from_pylist([one], schema=rows_of("v", "0").schema)
    source = folder_of_three(tmp_path, asked, [masks, error_of("v", "1")])
    out = str(tmp_path / "s.zip")
    with pytest.raises(InputError, match="expression_id=0: 1 of 2 frames have no mask, the first is c"):
        write_submission(source, out, server="mevis")
    made = write_submission(source, out, server="mevis", missing="empty")
    assert zipfile.ZipFile(out).namelist() == [f"v/{expression}/{frame}.png" for expression in "01" for frame in "ca"]
    assert (made.counts["files"], made.counts["filled"]) == (4, 3)
    manifest = read_manifest(str(tmp_path / "m.parquet"))
    assert not validate_submission(out, SERVERS["mevis"], manifest).counts


def test_a_null_among_the_frames_is_reported(tmp_path):
    asked = [{"expression_id": "0", "frame_indices": [0, None]}]
    source = folder_of_three(tmp_path, asked, [rows_of("v", "0", 1)])
    text = "video_id=v expression_id=0: its list of frames holds a null"
    with pytest.raises(InputError, match=text):
        write_submission(source, str(tmp_path / "s.zip"), server="mevis")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("v/0/a.png", b"")
    with pytest.raises(InputError, match=text):
        validate_submission(str(tmp_path / "z.zip"), SERVERS["mevis"], read_manifest(str(tmp_path / "m.parquet")))


def test_without_a_list_each_pair_has_the_frames_of_all_pairs_of_its_video(tmp_path):
    asked = [{"expression_id": name} for name in "01"]
    source = folder_of_three(tmp_path, asked, [rows_of("v", "0", 1), rows_of("v", "1", 2)])
    with pytest.raises(InputError, match="expression_id=0: 1 of 2 frames have no mask, the first is 00001"):
        write_submission(source, str(tmp_path / "s.zip"), server="mevis")


@pytest.mark.parametrize(
    ("video", "expression", "frame"),
    [("..", "0", "0"), ("v", "../../x", "0"), ("v", "0", "a/b"), ("/etc", "0", "0"), ("v", "a\\b", "0")],
)
def test_ids_that_would_leave_the_folder_are_refused(tmp_path, video, expression, frame):
    rows = [row | {"frame_name": frame} for row in rows_of(video, expression, 1).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=rows_of("v", "0").schema), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="cannot be a file name"):
        made(str(tmp_path / "m.parquet"), tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_a_frame_name_that_no_file_can_have_is_reported_with_its_pair(tmp_path):
    rows = [row | {"frame_name": "a/b"} for row in rows_of("v", "0", 1).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=rows_of("v", "0").schema), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"video_id=v expression_id=0: frame a/b: id 'a/b.png' cannot be a file name"):
        made(str(tmp_path / "m.parquet"), tmp_path / "s.zip")


@pytest.mark.slow
def test_more_files_than_a_plain_zip_can_list(tmp_path):
    frames = 66_000
    common = {"video_id": "v", "expression_id": "0", "height": 1, "width": 1, "counts": rle.empty(1, 1)}
    rows = {name: [value] * frames for name, value in common.items()} | {"frame_index": list(range(frames))}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    archive = made(str(tmp_path / "m.parquet"), tmp_path / "s.zip", "mevis")
    assert len(archive.namelist()) == frames


@pytest.mark.s3
def test_from_and_to_a_bucket(labelled_run, s3, tmp_path):
    for unit in labelled_run.units():
        content = storage.read_bytes(labelled_run.masks_uri(unit.unit_id))
        storage.write_bytes(f"{s3}/{tmp_path.name}/masks/{unit.unit_id}.parquet", content)
    out = f"{s3}/{tmp_path.name}/s.zip"
    write_submission(MaskSource.open(f"{s3}/{tmp_path.name}/masks"), out, server="mevis")
    local = made(labelled_run.folder, tmp_path / "s.zip", "mevis")
    assert storage.read_bytes(out) == (tmp_path / "s.zip").read_bytes()
    assert not validate_submission(out, SERVERS["mevis"]).counts
    assert len(local.namelist()) == 108
