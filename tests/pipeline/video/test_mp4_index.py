"""Small MP4 files whose index claims billions of samples are refused before FFmpeg makes an entry for each."""

import struct

import pyarrow.parquet as pq
import pytest

from pipeline.io import storage
from pipeline.video import probe
from schemas.errors import MediaError


@pytest.fixture
def video(shapes) -> bytes:
    uri = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    return storage.read_bytes(uri)


@pytest.mark.parametrize(("kind", "place"), [(b"stsz", 12), (b"stts", 12), (b"ctts", 12)])
def test_a_claim_is_refused(video, tmp_path, kind, place):
    data, at = bytearray(video), video.find(kind)
    if at < 0:
        pytest.skip("this encoder writes no such table")
    data[at + place : at + place + 4] = struct.pack(">I", 400_000_000)
    (tmp_path / "v.mp4").write_bytes(data)
    with pytest.raises(MediaError, match="claims 4000000[0-9]{2} samples"):
        probe(str(tmp_path / "v.mp4"))


def test_real_videos_are_read(shared):
    for path in sorted((shared / "data/real/videos").glob("*.m*")):
        assert probe(str(path)).height > 0
