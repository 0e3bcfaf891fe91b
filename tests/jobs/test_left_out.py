"""`rvos check` and `rvos segment` count and list the parts of videos that they do not decode."""

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import check
from jobs.config.check import CheckConfig
from pipeline.runs.run import Run
from tests.segmented import run


@pytest.fixture
def manifest(tmp_path) -> str:
    """A folder with two other files, a file with two video streams, and a file that is cut off."""
    (tmp_path / "frames").mkdir()
    for name in ("00000.png", "00001.png"):
        Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "frames" / name)
    for name in ("notes.txt", "index.json"):
        (tmp_path / "frames" / name).touch()
    for name, streams in (("two.mkv", 2), ("cut.mkv", 1)):
        with av.open(str(tmp_path / name), "w") as output:
            added = [output.add_stream("mpeg4", rate=10) for _ in range(streams)]
            for stream in added:
                stream.width, stream.height = 64, 48
            for number in range(4):
                image = np.full((48, 64, 3), 40 * number, np.uint8)
                for stream in added:
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            for stream in added:
                output.mux(stream.encode())
    cut = (tmp_path / "cut.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(cut[: cut.rindex(b"\x1c\x53\xbb\x6b") - 20])  # before the cues
    pairs = [("frames", "frames"), ("frames", "frames"), ("two", "two.mkv"), ("cut", "cut.mkv")]
    rows = [
        {"video_id": video, "video_uri": uri, "expression_id": str(number), "expression": "the red circle"}
        for number, (video, uri) in enumerate(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    return str(tmp_path / "manifest.parquet")


def test_check_lists_it(manifest, tmp_path):
    result = check.run(CheckConfig(manifest=manifest))
    assert [(one.count, one.first) for one in result.skipped] == [
        (2, str(tmp_path / "frames/index.json")),
        (1, str(tmp_path / "two.mkv")),
    ]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_segment_lists_it_once_for_each_video(manifest, checkpoint, tmp_path):
    """Also when two units share a video, and when everything was there before."""
    folder = str(tmp_path / "run")
    for _ in range(2):
        result = run(manifest, folder, checkpoint, unit_frames=1, allow_short=True)
        assert result.failed == {}
        assert {(one.reason.partition(" ")[0], one.count, one.first) for one in result.skipped} == {
            ("files", 2, str(tmp_path / "frames/index.json")),
            ("video", 1, str(tmp_path / "two.mkv")),
            ("ends", 1, str(tmp_path / "cut.mkv")),
        }
    assert result.text().count("left out: ") == 3
    assert len(json.loads(json.dumps(result.to_json()))["skipped"]) == 3
    assert len(Run.open(folder).units()) > 1
