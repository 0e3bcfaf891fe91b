"""Small MP4 files whose index claims billions of samples are refused before FFmpeg makes an entry for each."""

import io
import itertools
import resource
import struct
import zlib
from collections.abc import Callable

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.io import storage
from pipeline.video import Selection, mp4_index, probe, read_frames
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
    "behind a version": box(b"moov", box(b"iref", bytes(4) + CLAIM)),
    "behind a count": box(b"moov", box(b"dref", bytes(8) + CLAIM)),
    "in metadata behind a false handler": box(b"meta", b"\0hdlr\0\0\0" + box(b"hdlr", bytes(8)) + CLAIM),
    "in two packed indexes": box(
        b"moov", box(b"cmvd", bytes(4) + zlib.compress(box(b"stsz", bytes(4) + struct.pack(">II", 1, 2**18)))) * 2
    ),
    "in many fragments": box(b"moof", box(b"traf", box(b"trun", bytes(4) + struct.pack(">I", 2**17)))) * 3,
}
for kind in ("udta", "mvex", "tref", "wave", "ilst", "sinf", "gmhd", "trak"):
    HIDDEN[f"in {kind}"] = box(b"ftyp") + box(b"moov", box(kind.encode(), CLAIM))
for kind in ("junk", "uuid", "PICT", "abcd"):
    HIDDEN[f"after {kind}"] = box(kind.encode(), bytes(8)) + box(b"moov", CLAIM)


def full(kind: bytes, *values: int, more: bytes = b"", flags: int = 0) -> bytes:
    return box(kind, struct.pack(f">{1 + len(values)}I", flags, *values) + more)


def boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and content of each box."""
    found, at = [], 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        found.append((kind, content[at + 8 : at + size]))
        at += size
    return found


def rebuilt(content: bytes, change: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """Return a file in which `change(kind, content)` has replaced boxes; None keeps one."""
    made = b""
    for kind, inside in boxes(content):
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"):
            inside = rebuilt(inside, change)
        new = change(kind, inside)
        made += box(kind, inside) if new is None else new
    return made


def claiming(samples: int) -> Callable[[bytes, bytes], bytes | None]:
    """Return a change that makes a track claim samples of one byte each, in one chunk."""
    tables = {
        b"stsz": full(b"stsz", 1, samples),
        b"stts": full(b"stts", 1, samples, 512),
        b"stsc": full(b"stsc", 1, 1, samples, 1),
        b"stss": b"",
        b"ctts": b"",
        b"elst": b"",
    }
    return lambda kind, _: tables.get(kind)


def many_tracks(video: bytes) -> bytes:
    fat = rebuilt(video, claiming(2**18 - 10))

    def change(kind: bytes, inside: bytes) -> bytes | None:
        return box(kind, inside + box(b"trak", dict(boxes(inside))[b"trak"]) * 60) if kind == b"moov" else None

    return rebuilt(fat, change)


def many_edits(video: bytes) -> bytes:
    """Every edit shows all samples again."""
    edits = full(b"elst", 600, more=struct.pack(">IiI", 2**31, 0, 65536) * 600)
    return rebuilt(video, lambda kind, inside: edits if kind == b"elst" else claiming(2**17)(kind, inside))


def chunks_of_sound(_: bytes) -> bytes:
    """A track of sound whose few chunks claim 2^31 samples each, in entries of 1024."""
    content = io.BytesIO()
    with av.open(content, "w", format="mov") as made:
        pictures, sound = made.add_stream("mpeg4", rate=25), made.add_stream("pcm_s16le", rate=8000, layout="mono")
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for stream, frame in (
            (pictures, av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")),
            (sound, av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")),
        ):
            if isinstance(frame, av.AudioFrame):
                frame.sample_rate = 8000
            for packet in itertools.chain(stream.encode(frame), stream.encode()):
                made.mux(packet)

    def change(kind: bytes, inside: bytes) -> bytes | None:
        tables = dict(boxes(inside)) if kind == b"stbl" else {}
        if tables.get(b"stsz", b"")[4:8] != struct.pack(">I", 2):
            return None
        chunks = full(b"stco", 40, more=struct.pack(">I", 100) * 40)
        timing = full(b"stts", 1, 2**18 - 5, 1) + full(b"stsz", 2, 2**18 - 5)
        return box(kind, box(b"stsd", tables[b"stsd"]) + timing + full(b"stsc", 1, 1, 2**31 - 1, 1) + chunks)

    return rebuilt(content.getvalue(), change)


@pytest.mark.parametrize("bomb", [many_tracks, many_edits, chunks_of_sound])
def test_what_ffmpeg_multiplies_is_refused_before_it_takes_memory(video, tmp_path, bomb):
    (tmp_path / "v.mov").write_bytes(bomb(video))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError, match="too many for its size"):
        probe(str(tmp_path / "v.mov"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB; FFmpeg would take 0.5 to 2 GiB


@pytest.mark.parametrize("kind", [b"iprp", b"ipco"])
def test_tables_in_properties_of_pictures_are_refused(kind):
    small = box(b"trun", bytes(4) + struct.pack(">I", 9))
    assert mp4_index.fault(io.BytesIO(box(b"meta", box(b"hdlr", bytes(8)) + box(kind, small)) + small)) is not None
    assert mp4_index.fault(io.BytesIO(box(b"meta", box(b"hdlr", bytes(8)) + box(kind, bytes(9))) + small)) is None


def test_boxes_that_are_too_long_to_be_searched_are_refused():
    for kind in (b"stsd", b"meta"):
        long = mp4_index.fault(io.BytesIO(box(b"moov", box(kind, bytes(2**20) + CLAIM))))
        assert long == f"its box {kind.decode()} has {2**20 + len(CLAIM)} bytes"
    covers = box(b"meta", bytes(4) + box(b"hdlr", bytes(8)) + bytes(2**21))  # pictures of an album
    assert mp4_index.fault(io.BytesIO(covers)) is None


def test_a_packed_index_that_holds_packed_indexes_ends():
    content = box(b"free")
    for _ in range(50):
        content = box(b"cmov", box(b"cmvd", bytes(4) + zlib.compress(content)))
    assert "packed" in (mp4_index.fault(io.BytesIO(content)) or "")


def fragments() -> tuple[bytes, list[bytes]]:
    """Return the header and the fragments, `moof` and `mdat`, of a video."""
    content = io.BytesIO()
    options = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
    with av.open(content, "w", format="mp4", options=options) as made:
        stream = made.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value * 20, np.uint8), format="rgb24")
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    parts = [(kind, box(kind, inside)) for kind, inside in boxes(content.getvalue())]
    media = [part for kind, part in parts if kind in (b"moof", b"mdat")]
    return parts[0][1] + parts[1][1], [a + b for a, b in zip(media[::2], media[1::2], strict=True)]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_no_index_of_fragments_leads_into_media(tmp_path, before):
    """`sidx` names places of fragments. FFmpeg goes to one in `mdat` only after a seek, and no reader here seeks."""
    head, real = fragments()
    track = full(b"tfhd", 1, 512, 4, flags=0x20018) + full(b"trun", 2**27)
    hidden = box(b"mdat", box(b"moof", full(b"mfhd", 9) + box(b"traf", track)) + bytes(64))
    sizes = [len(part) for part in real[:before]]
    sizes = [*sizes[:-1], sum(sizes[-1:]) + 8, len(hidden) - 8, len(real[before])]
    places = b"".join(struct.pack(">III", size, 512, 0x90000000) for size in sizes)
    index = full(b"sidx", 1, 12800, 0, 0, len(sizes), more=places)
    (tmp_path / "v.mp4").write_bytes(head + index + b"".join(real[:before]) + hidden + real[before])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert probe(str(tmp_path / "v.mp4")).height == 48
    frames = list(read_frames(str(tmp_path / "v.mp4"), Selection()))
    assert 1 <= len(frames) <= before + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**17  # KiB; the hidden samples take 3 GiB


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
