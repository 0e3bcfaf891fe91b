"""Files that are cut off anywhere must be noticed, also where FFmpeg decodes the rest without an error."""

import io
import random

import av
import numpy as np
import pytest

from pipeline.video import LeftOut, Selection, probe, read_frames
from pipeline.video.file_end import cut_off
from pipeline.video.pyav_reader import APPENDED
from schemas.errors import MediaError
from tests.pipeline.video.conftest import picture

FORMS = {  # file: encoder, pixel format, options of the container
    "clip.mkv": ("libx264", "yuv420p", {}),
    "clip.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "clip.avi": ("mpeg4", "yuv420p", {}),
    "clip.ts": ("libx264", "yuv420p", {}),
    "clip.m2ts": ("libx264", "yuv420p", {}),
    "clip.flv": ("libx264", "yuv420p", {}),
    "clip.mpg": ("mpeg2video", "yuv420p", {}),
    "clip.mxf": ("mpeg2video", "yuv420p", {}),
    "clip.gif": ("gif", "pal8", {}),
    "clip.y4m": ("wrapped_avframe", "yuv420p", {}),
    "clip.wmv": ("wmv2", "yuv420p", {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_cut_is_found(tmp_path, name):
    path = tmp_path / name
    encoder, pixels, options = FORMS[name]
    with av.open(str(path), "w", options=options) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p" if pixels == "pal8" else pixels
        if pixels == "pal8":
            stream.pix_fmt = "rgb8"
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format=stream.pix_fmt)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    whole = path.read_bytes()
    assert cut_off(io.BytesIO(whole)) is None
    assert len(list(read_frames(str(path), Selection()))) == 12
    for length in sorted(random.Random(0).sample(range(len(whole) // 8, len(whole)), 12)):
        path.write_bytes(whole[:length])
        found = "no error"
        try:
            frames = list(read_frames(str(path), Selection()))
        except MediaError as error:
            found = error.status
            frames = []
        assert found in ("short_read", "corrupt") or len(frames) == 12, f"cut at {length}: {len(frames)} frames"


def test_the_missing_bytes_of_matroska(make_video):
    path = make_video("clip.mkv", 30, options={"crf": "1"})
    data = path.read_bytes()
    assert cut_off(io.BytesIO(data[:-1000])) == "1000 bytes are missing"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="truncated") as caught:
        list(read_frames(str(path), Selection()))
    assert caught.value.status == "short_read"
    assert list(read_frames(str(path), Selection(), allow_short=True))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1aE",
        b"\x1aE\xdf\xa3",
        b"\x1aE\xdf\xa3\x81\0\x18S\x80g\xff",
        b"RIFF\0\0\0\0AVI ",
        b"RIFF\xff\xff\xff\xffAVI ",
        b"\0\0\0\0ftyp",
        b"OggS",
        b"YUV4MPEG2 ",
        b"YUV4MPEG2 W8 H8 Cmono\nFRAME\n",
        b"GIF89a",
        bytes.fromhex("060e2b34020501010d010201010204008300"),
        b"no video",
    ],
)
def test_what_does_not_say(content):
    cut_off(io.BytesIO(content))  # raises nothing, whatever is missing


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\0\0\0\0AVI ", b"\0\0\0\0ftyp\0\0\0\0"])
def test_unknown_lengths_are_no_cut(content):
    assert cut_off(io.BytesIO(content)) is None


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("clip.wmv", "wmv2"), ("clip.mjpeg", "mjpeg"), ("clip.hevc", "libx265"), ("clip.ts", "libx264")],
)
def test_zeros_of_a_download_that_did_not_finish(tmp_path, name, encoder):
    """Programs take the room of the whole file first. FFmpeg passes over zeros between two frames."""
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for index in range(60):
            noise = np.random.default_rng(index).integers(0, 256, (80, 96, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=stream.pix_fmt)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    whole = path.read_bytes()
    for end in range(len(whole) // 4, len(whole) - 5000, len(whole) // 9):
        path.write_bytes(whole[:end] + bytes(len(whole) - end))
        with pytest.raises(MediaError) as caught:
            list(read_frames(str(path), Selection()))
        assert caught.value.status == "short_read"


def test_appended_videos_are_said(make_video, tmp_path):
    """As `cat 1.mp4 2.mp4` makes them: every player shows the first only."""
    path = tmp_path / "both.mp4"
    path.write_bytes(make_video("a.mp4").read_bytes() * 3)
    left_out = []
    assert len(list(read_frames(str(path), Selection(), left_out=left_out))) == 12
    assert left_out == [LeftOut(APPENDED, 2, str(path))]
    assert probe(str(path)).left_out == tuple(left_out)
    assert probe(str(make_video("b.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}))).left_out == ()
