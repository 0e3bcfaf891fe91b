"""Shards: whole samples, unchanged media, identical bytes, and a manifest to train on."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.export.webdataset import write_webdataset
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from pipeline.training.examples import TrainingSource, gather_examples
from schemas.errors import InputError
from tests.handmade import rows_of, run_of_truth


def made(run, out, shard_mb=256, manifest=None):
    source = MaskSource.open(run, manifest)
    return write_webdataset(source, str(out), shard_mb=shard_mb)


def test_a_sample_is_a_video_with_its_masks(labelled_run, tmp_path):
    shards = made(labelled_run.folder, tmp_path)
    assert shards.counts == {"videos": 3, "pairs": 9, "failed": 0, "unseen": 0, "shards": 1}
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        assert tar.getnames() == [f"{number:08}.{suffix}" for number in range(3) for suffix in ("json", "mp4")]
        assert {member.mtime for member in tar} == {0}
        label = json.load(tar.extractfile("00000001.json"))  # pyright: ignore[reportArgumentType]
        video = tar.extractfile("00000001.mp4").read()  # pyright: ignore[reportOptionalMemberAccess]
    pair = list(MaskSource.open(labelled_run.folder).videos())[1][2]
    assert video == Path(pair.row["video_uri"]).read_bytes()
    assert (label["video_id"], label["frames"][:2], label["height"]) == ("shapes-0001", ["00000", "00001"], 96)
    found = label["expressions"][2]
    assert (found["expression"], found["pair_score"]) == (pair.row["expression"], 0.5)
    assert [mask["counts"].encode() for mask in found["masks"]] == [row["counts"] for row in pair.rows()]


def test_shards_are_cut_between_videos_and_are_the_same_each_time(labelled_run, tmp_path):
    for name in ("a", "b"):
        assert made(labelled_run.folder, tmp_path / name, shard_mb=0).counts["shards"] == 3
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["index.json", "manifest.parquet", *(f"shard-{number:05}.tar" for number in range(3))]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    index = json.loads((tmp_path / "a/index.json").read_text())
    sizes = [(tmp_path / "a" / shard["url"]).stat().st_size for shard in index["shardlist"]]
    assert [(shard["nsamples"], shard["filesize"]) for shard in index["shardlist"]] == [(1, size) for size in sizes]


def test_manifest_rows_are_written_before_a_shard_ends(labelled_run, tmp_path, monkeypatch):
    made(labelled_run.folder, tmp_path / "whole")
    monkeypatch.setattr("pipeline.export.webdataset.ROWS_BUFFERED", 2)
    made(labelled_run.folder, tmp_path / "cut")
    with pq.ParquetFile(tmp_path / "cut/manifest.parquet") as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2, 2, 2, 1]
    assert read_manifest(str(tmp_path / "cut/manifest.parquet")).equals(
        read_manifest(str(tmp_path / "whole/manifest.parquet"))
    )


def test_the_manifest_can_be_trained_on(run_with_failure, tmp_path):
    assert made(run_with_failure.folder, tmp_path / "out").counts["failed"] == 1
    manifest = read_manifest(str(tmp_path / "out/manifest.parquet"))
    assert manifest.num_rows == 8
    assert manifest.slice(0, 1).to_pylist()[0].items() >= {"shard": "shard-00000.tar", "key": "00000000"}.items()
    source = TrainingSource(manifest=str(tmp_path / "out/manifest.parquet"), annotations=run_with_failure.folder)
    examples, left_out = gather_examples([source])
    assert (examples.num_rows, sum(left_out.values())) == (8, 0)


def test_folders_give_the_frames_that_have_masks(tmp_path):
    (tmp_path / "v").mkdir()
    for name in range(5):
        Image.new("RGB", (2, 2)).save(tmp_path / f"v/{name:05}.jpg")
    pq.write_table(rows_of("v", "0"), tmp_path / "p.parquet")
    row = {"video_id": "v", "video_uri": "v", "expression_id": "0", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "m.parquet")
    names = [row | {"frame_name": f"{row['frame_index']:05}"} for row in rows_of("v", "0").to_pylist()]
    pq.write_table(pa.Table.from_pylist(names, schema=rows_of("v", "0").schema), tmp_path / "p.parquet")
    made(str(tmp_path / "p.parquet"), tmp_path / "out", manifest=str(tmp_path / "m.parquet"))
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        assert tar.getnames() == ["00000000.json", *(f"00000000.{name:05}.jpg" for name in range(3))]


def one_video(folder: Path, uri: str) -> Path:
    """Write a manifest and masks of one video, and the shards of both; return the shard."""
    pq.write_table(rows_of("v", "0"), folder / "p.parquet")
    row = {"video_id": "v", "video_uri": uri, "expression_id": "0", "expression": "x"}
    pq.write_table(pa.Table.from_pylist([row]), folder / "m.parquet")
    made(str(folder / "p.parquet"), folder / "out", manifest=str(folder / "m.parquet"))
    return folder / "out/shard-00000.tar"


@pytest.mark.parametrize(
    ("name", "suffix"), [("clip", "mp4"), ("clip.mov", "mov"), ("clip.txt", "mp4"), ("a.b;c", "mp4")]
)
def test_the_suffix_follows_from_the_content(shapes, tmp_path, name, suffix):
    video = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    (tmp_path / name).write_bytes(Path(video).read_bytes())
    with tarfile.open(one_video(tmp_path, name)) as tar:
        assert tar.getnames() == ["00000000.json", f"00000000.{suffix}"]


@pytest.mark.parametrize("name", ["clip.mp4", "clip", "clip.png", "id_rsa"])
def test_a_file_that_is_no_media_is_not_copied(tmp_path, name):
    (tmp_path / name).write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\n" * 20)
    text = r"nothing to write: no readable video for 1 pair \(video_id=v expression_id=0: .*{0}"
    with pytest.raises(InputError, match=text.format(name)):
        one_video(tmp_path, name)


def test_a_text_among_frames_is_not_copied(tmp_path):
    (tmp_path / "v").mkdir()
    for name in range(3):
        (tmp_path / f"v/{name:05}.png").write_bytes(b"root:x:0:0:root:/root:/bin/bash\n")
    with pytest.raises(InputError, match="nothing to write"):
        one_video(tmp_path, "v")


def test_videos_that_are_gone_are_left_out_and_named(labelled_run, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).to_pylist()
    for row in rows:
        there = storage.absolute(row["video_uri"], storage.parent(shapes[0]))
        row["video_uri"] = there if row["video_id"] == "shapes-0002" else f"{there}.gone"
    pq.write_table(pq.read_table(shapes[0]).from_pylist(rows), tmp_path / "m.parquet")
    shards = made(labelled_run.folder, tmp_path / "out", manifest=str(tmp_path / "m.parquet"))
    assert shards.counts == {"videos": 1, "pairs": 3, "failed": 0, "unseen": 6, "shards": 1}
    assert len(shards.notes) == 2
    for row in rows:
        row["video_uri"] = "/gone.mp4" + row["video_id"]
    pq.write_table(pq.read_table(shapes[0]).from_pylist(rows), tmp_path / "m.parquet")
    reasons = r"nothing to write: no readable video for 9 pairs \(.*shapes-0000.*shapes-0002.*"
    with pytest.raises(InputError, match=reasons):
        made(labelled_run.folder, tmp_path / "none", manifest=str(tmp_path / "m.parquet"))
    assert not (tmp_path / "none/manifest.parquet").exists()


def test_pairs_without_masks_are_named_if_there_are_no_others(shapes, tmp_path):
    failed = tuple((f"shapes-{video:04}", str(number)) for video in range(3) for number in range(3))
    run = run_of_truth(str(tmp_path / "run"), *shapes, failed=failed)
    text = r"nothing to write: no masks for 9 pairs \(video_id=shapes-0000 expression_id=0: .*; \.\.\.\)"
    with pytest.raises(InputError, match=text):
        made(run.folder, tmp_path / "out")
