"""`rvos check` on small manifests, and on the real data."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.check import CheckConfig, run
from jobs.import_dataset import ImportConfig
from jobs.import_dataset import run as import_dataset
from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from pipeline.video import Selection, read_frames
from pipeline.video.folder import NATURAL, ODD_NAMES
from schemas.errors import InputError


@pytest.fixture
def write_manifest(tmp_path):
    """write_manifest(rows, metadata) -> path of a manifest beside a folder `frames` of three images."""
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "frames" / f"{index:05d}.png")

    def write(rows: list[dict], metadata: dict | None = None):
        rows = [
            {"video_id": "a", "video_uri": "frames", "expression_id": str(n), "expression": "x"} | row
            for n, row in enumerate(rows)
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        path = tmp_path / "manifest.parquet"
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}, metadata=metadata), path)
        return path

    return write


def check(path, **options):
    return run(CheckConfig(manifest=str(path), **options))


def test_all_well(write_manifest):
    result = check(write_manifest([{}, {"frames": ["00001"]}, {"frame_indices": [2, 0]}]))
    assert (result.exit_code, result.pairs, result.videos, result.frames) == (0, 3, 1, 3)
    assert "no problems found" in result.text()


def test_other_files_among_frames_are_counted(write_manifest, tmp_path):
    for name in ("Thumbs.db", "notes.txt"):
        (tmp_path / "frames" / name).touch()
    result = check(write_manifest([{}, {}]))
    assert result.exit_code == 0
    assert [(one.count, one.first) for one in result.skipped] == [(2, str(tmp_path / "frames/Thumbs.db"))]
    assert "left out: files in folders of frames that are not images: 2 (first: " in result.text()
    assert result.to_json()["skipped"][0]["count"] == 2


def test_orders_that_are_assumed_are_said_of_every_folder(write_manifest, tmp_path):
    """As at the import, whose words a manifest of one's own has never seen."""
    for folder in ("one", "two", "decimals"):
        (tmp_path / folder).mkdir()
        for name in ("1.25", "1.5", "2.0") if folder == "decimals" else ("f2", "f10", "cover2x"):
            Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / folder / f"{name}.png")
    result = check(write_manifest([{"video_id": name, "video_uri": name} for name in ("one", "decimals", "two")]))
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert [(found.text, found.folders) for found in result.assumed] == [
        (NATURAL, (one, two)), (ODD_NAMES, (f"{one}/cover2x.png", f"{two}/cover2x.png")),
    ]  # fmt: skip
    assert result.exit_code == 0
    assert (
        f"warning: folders of images in natural order (2 before 10), which is not the order of letters: 2 (first: {one}"
        in (result.text())
    )
    assert result.to_json()["assumed"][0]["folders"] == (one, two)


def test_an_animation_among_frames_is_a_problem_without_decoding(write_manifest, tmp_path):
    stills = [Image.fromarray(np.full((6, 8, 3), value, np.uint8)) for value in (1, 90, 200)]
    stills[0].save(tmp_path / "frames/00001.png", save_all=True, append_images=stills[1:])
    path = write_manifest([{}])
    for decode in (False, True):
        (found,) = check(path, decode=decode).findings
        assert found.status == "bad_row"
        assert "00001.png is an animation among the frames of its folder; give it a folder of its own" in found.problem


def test_counts_are_of_videos_and_in_good_grammar(write_manifest):
    text = check(write_manifest([{}])).text()
    assert "1 pair in 1 video, 3 frames\n" in text
    assert "2 pairs in 2 videos, 3 frames\n" in check(write_manifest([{}, {"video_id": "b"}])).text()


def test_problems_come_all_at_once(write_manifest, tmp_path):
    (tmp_path / "empty.mp4").touch()
    rows = [
        {"expression": " "},
        {"frames": ["00001", "00009"]},
        {"frame_indices": [3]},
        {"target_frames": ["00007"]},
        {"num_frames": 9},
        {"video_id": "b", "video_uri": "gone.mp4"},
        {"video_id": "b", "video_uri": "gone.mp4"},
        {"video_id": "c", "video_uri": "empty.mp4"},
    ]
    result = check(write_manifest(rows))
    assert [(finding.row, finding.rows, finding.status) for finding in result.findings] == [
        (0, 1, "bad_row"),
        (1, 1, "missing"),
        (2, 1, "bad_row"),
        (3, 1, "missing"),
        (4, 1, "stale"),
        (5, 2, "missing"),
        (7, 1, "corrupt"),
    ]
    assert result.exit_code == 1
    assert "7 problems" in result.text()
    assert "frame 00009" in result.text()
    assert json.loads(json.dumps(result.to_json()))["findings"][5]["video_id"] == "b"


def test_what_a_run_refuses(write_manifest):
    result = check(write_manifest([{"expression_id": "0"}, {"expression_id": "0"}, {"video_uri": "gone"}]))
    assert result.exit_code == 2
    assert [finding.status for finding in result.findings] == ["refused", "refused", "missing"]


def test_no_manifest(tmp_path, write_manifest):
    with pytest.raises(InputError, match="no manifest"):
        check(tmp_path / "gone.parquet")
    path = tmp_path / "columns.parquet"
    pq.write_table(pa.table({"video_id": ["a"]}), path)
    with pytest.raises(InputError, match="expression_id"):
        check(path)


def test_expressions_too_long_for_a_checkpoint(write_manifest):
    path = write_manifest(
        [{"expression": "the red circle"}, {"expression": "circle " * 70}, {"expression": "dog " * 71}]
    )
    assert check(path).findings == ()
    result = check(path, checkpoint="tiny")
    assert [(finding.row, finding.rows, finding.status) for finding in result.findings] == [
        (1, 1, "bad_row"),
        (2, 1, "bad_row"),
    ]
    assert result.findings[0].problem == "expression_id=1: the expression has 74 tokens, at most 64 fit; shorten it"
    assert result.exit_code == 1


def test_an_expression_is_rejected_once(write_manifest):
    long = "circle " * 20_000
    result = check(write_manifest([{"expression": long}, {"expression": ""}]), checkpoint="tiny")
    assert [(finding.row, finding.status) for finding in result.findings] == [(0, "bad_row"), (1, "bad_row")]
    assert "bytes" in result.findings[0].problem


def test_checkpoint_that_cannot_be_read(write_manifest, tmp_path):
    with pytest.raises(InputError, match=f"--checkpoint {tmp_path}: "):
        check(write_manifest([{}]), checkpoint=str(tmp_path))


def test_write_adds_num_frames_and_keeps_everything_else(write_manifest):
    rows = [{"kind": "cat", "weight": 1.5}, {"kind": "dog", "video_id": "b", "video_uri": "gone"}]
    path = write_manifest(rows, metadata={"made by": "hand"})
    before = pq.read_table(path)
    result = check(path, write=True)
    assert (result.written, result.exit_code) == (1, 1)
    after = pq.read_table(path)
    assert after["num_frames"].to_pylist() == [3, None]
    assert after["num_frames"].type == pa.int32()
    assert after.drop(["num_frames"]).equals(before, check_metadata=True)
    assert check(path, write=True).written == 0


def test_write_corrects_num_frames_in_its_own_type(write_manifest):
    path = write_manifest([{"num_frames": 7}, {"num_frames": None}])
    assert check(path, write=True).written == 2
    assert pq.read_table(path)["num_frames"].type == pa.int64()
    assert pq.read_table(path)["num_frames"].to_pylist() == [3, 3]


def test_video_without_length(write_manifest, tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 32, 32
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode())
    result = check(write_manifest([{"video_uri": "clip.mkv"}]), write=True)
    assert (result.exit_code, result.without_length, result.written) == (0, 1, 0)


def test_many_videos(write_manifest):
    rows = [{"video_id": f"{n % 100:03d}", "video_uri": f"./{'./' * (n % 100)}frames"} for n in range(1000)]
    result = check(write_manifest(rows))
    assert (result.pairs, result.findings) == (1000, ())


def test_real_data(shared, tmp_path):
    real = shared / "data/real"
    import_dataset(ImportConfig(dataset="ref-youtube-vos", root=str(real), out=str(tmp_path)))
    result = check(tmp_path / "manifest.parquet")
    assert (result.exit_code, result.videos, result.frames) == (0, 3, 139)
    uris = sorted(str(path) for path in (real / "videos").iterdir())
    columns = {name: [str(n) for n in range(len(uris))] for name in ("video_id", "expression_id", "expression")}
    pq.write_table(pa.table({**columns, "video_uri": uris}), tmp_path / "videos.parquet")
    result = check(tmp_path / "videos.parquet", write=True)
    assert (result.exit_code, result.without_length) == (0, 2)  # corrupted.mp4 shows only when it is decoded
    lengths = pq.read_table(tmp_path / "videos.parquet")["num_frames"].to_pylist()
    assert lengths == [None, None, 50, 50, 10, 390, 149, 3]


@pytest.mark.s3
def test_on_s3(s3, shared):
    base = f"{s3}/check"
    for name in ("h265_video.mp4", "video_90.mov", "bear-vp9-odd-dimensions.webm"):
        storage.write_bytes(f"{base}/{name}", (shared / "data/real/videos" / name).read_bytes())
    for image in sorted((shared / "data/real/JPEGImages/libby").iterdir())[:4]:
        storage.write_bytes(f"{base}/libby/{image.name}", image.read_bytes())
    uris = ["h265_video.mp4", "video_90.mov", "bear-vp9-odd-dimensions.webm", "libby", "gone.mp4", "gone"]
    columns = {name: [str(n) for n in range(len(uris))] for name in ("video_id", "expression_id", "expression")}
    parquet.write_table(f"{base}/manifest.parquet", pa.table({**columns, "video_uri": uris}))
    result = check(f"{base}/manifest.parquet", write=True)
    assert [(finding.row, finding.status) for finding in result.findings] == [(4, "missing"), (5, "missing")]
    lengths = parquet.read_table(f"{base}/manifest.parquet")["num_frames"].to_pylist()
    assert lengths == [10, 3, None, 4, None, None]
    names = [frame.name for frame in read_frames(f"{base}/libby", Selection(step=2))]
    assert names == ["00000", "00002"]
    assert len(list(read_frames(f"{base}/video_90.mov", Selection()))) == 3


def test_damage_after_the_first_frame_is_found_by_decoding(write_manifest, shapes, tmp_path):
    video = Path(read_manifest(shapes[0])["video_uri"][0].as_py()).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(video.replace(video[len(video) // 2 : len(video) * 3 // 4], b"", 1))
    (tmp_path / "whole.mp4").write_bytes(video)
    path = write_manifest([{"video_uri": "whole.mp4"}])
    assert "--decode finds damage" in check(path).text()
    result = check(path, decode=True)
    assert (result.exit_code, result.frames) == (0, 12)
    assert "--decode" not in result.text()
    result = check(write_manifest([{"video_uri": "cut.mp4"}]), decode=True)
    assert [finding.status for finding in result.findings] in (["short_read"], ["corrupt"])
