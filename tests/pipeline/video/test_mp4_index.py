"""Small MP4 files whose index claims billions of samples are refused before FFmpeg makes an entry for each."""

import io
import struct
import zlib

import pyarrow.parquet as pq
import pytest

from pipeline.io import storage
from pipeline.video import mp4_index, probe
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


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


CLAIM = box(b"stsz", bytes(4) + struct.pack(">II", 1, 2**27))  # a size for all, and no byte for each
LEAVES = struct.pack(">I4s", 24, b"mdat") + struct.pack(">I4s", 2**31 - 1, b"mdat") + bytes(8)
HIDDEN = {
    "behind boxes": box(b"ftyp") + box(b"free") * 100_001 + box(b"moov", CLAIM),
    "packed": box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", bytes(4) + zlib.compress(CLAIM)))),
    "packed bomb": box(b"moov", box(b"cmov", box(b"cmvd", bytes(4) + zlib.compress(bytes(2**27))))),
    "longer than its parent": box(b"moov", struct.pack(">I4s", 2**32 - 1, b"stsz") + CLAIM[8:]),
    "to the end": box(b"moov", struct.pack(">I4s", 0, b"stsz") + CLAIM[8:]),
    "of 64 bits": box(b"moov", struct.pack(">I4sQ", 1, b"stsz", 28) + CLAIM[8:]),
    "in a description": box(b"moov", box(b"stsd", bytes(94) + CLAIM)),
    "in metadata": box(b"moov", box(b"meta", bytes(4) + box(b"hdlr", bytes(8)) + CLAIM)),
    # FFmpeg goes on behind the end of a box of media, wherever it is; the boxes around it end before.
    "behind a box that leaves its own": struct.pack(">I4s", 16, b"udta") + LEAVES + box(b"moov", CLAIM),
    "in many fragments": box(b"moof", box(b"traf", box(b"trun", bytes(4) + struct.pack(">I", 2**17)))) * 3,
}
for kind in ("udta", "mvex", "tref", "wave", "ilst", "sinf", "gmhd", "trak"):
    HIDDEN[f"in {kind}"] = box(b"ftyp") + box(b"moov", box(kind.encode(), CLAIM))
for kind in ("junk", "uuid", "PICT", "abcd"):
    HIDDEN[f"after {kind}"] = box(kind.encode(), bytes(8)) + box(b"moov", CLAIM)


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_claims_are_found(name):
    assert "claims" in (mp4_index.fault(io.BytesIO(HIDDEN[name])) or "")


@pytest.mark.parametrize("first", [b"junk", b"uuid", b"udta", b"PICT", b"abcd"])
def test_no_first_box_hides_a_claim(video, tmp_path, first):
    data, at = bytearray(video), video.find(b"stsz")
    data[at + 8 : at + 16] = struct.pack(">II", 1, 400_000_000)
    (tmp_path / "v.mp4").write_bytes(box(first, bytes(8)) + data)
    with pytest.raises(MediaError, match="claims 400000000 samples"):
        probe(str(tmp_path / "v.mp4"))


def test_absurdly_many_boxes_end_the_search(monkeypatch):
    monkeypatch.setattr(mp4_index, "MAX_BOXES", 1000)
    assert mp4_index.fault(io.BytesIO(box(b"free") * 1000)) is None
    assert mp4_index.fault(io.BytesIO(box(b"free") * 1001)) == "its index has more than 1000 boxes"


def test_other_files_have_no_fault(video):
    for content in (video, b"", b"RIFF" * 100, bytes(1000), b"\x1a\x45\xdf\xa3" * 50, video[:100]):
        assert mp4_index.fault(io.BytesIO(content)) is None


def test_real_videos_are_read(shared):
    for path in sorted((shared / "data/real/videos").glob("*.m*")):
        assert probe(str(path)).height > 0
