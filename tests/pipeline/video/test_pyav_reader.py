from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.video import Selection, probe, read_frames
from schemas.errors import MediaError


def images(path, **options):
    return [frame.image for frame in read_frames(str(path), Selection(), **options)]


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(make_video, decode_all, decoder, degrees):
    path = make_video("turned.mp4", 3, rotation=degrees)
    for shown, stored in zip(images(path, decoder=decoder), decode_all(path), strict=True):
        np.testing.assert_array_equal(shown, np.rot90(stored, degrees // 90))
    header = probe(str(path))
    assert (header.height, header.width) == ((80, 96) if degrees == 180 else (96, 80))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_frames_that_an_edit_list_cuts_away_are_not_promised(make_video, remux, decode_all, decoder):
    source = make_video("clip.mp4", 12, options={"g": "100"})
    cut = remux(source, "cut.mp4", 5)
    with av.open(str(cut)) as container:
        assert container.streams.video[0].frames == 12
    assert probe(str(cut)).num_frames == 7
    found = images(cut, decoder=decoder)
    assert len(found) == 7
    for shown, stored in zip(found, decode_all(source)[5:], strict=True):
        np.testing.assert_array_equal(shown, stored)


def test_damaged_pictures_end_the_reading(make_video):
    path = make_video("clip.mp4", 40, options={"crf": "1"})
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 2, len(data) // 2 + 400, 7):
        data[position] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        images(path)
    assert caught.value.status == "short_read"
    assert 0 < len(images(path, allow_short=True)) < 40


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_mp4_without_its_end_is_cut_off(make_video, share):
    """Its index is at the end, so that FFmpeg finds no stream at all."""
    path = make_video("clip.mp4", 20)
    content = path.read_bytes()
    path.write_bytes(content[: int(content.index(b"moov") * share)])
    with pytest.raises(MediaError, match=r"clip\.mp4 is cut off: .*; replace it with a complete video file") as caught:
        images(path)
    assert caught.value.status == "corrupt"
    path.write_bytes(content[: content.index(b"moov") - 4])  # between two boxes
    with pytest.raises(MediaError, match="replace it with a complete video file"):
        images(path)


def test_audio_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        output.mux([*stream.encode(sound), *stream.encode()])
    with pytest.raises(MediaError, match="no video stream") as caught:
        images(path)
    assert caught.value.status == "corrupt"


def test_size_limit(make_video, monkeypatch):
    path = make_video("clip.mp4", 3)
    monkeypatch.setattr("pipeline.video.types.MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match="96x80") as caught:
        images(path)
    assert caught.value.status == "bad_row"


def test_size_may_not_change_on_the_way(tmp_path):
    path = tmp_path / "grows.h264"  # a raw stream: each key frame brings its own size
    with path.open("wb") as raw:
        for width in (64, 96):
            codec = av.CodecContext.create("libx264", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = width, 48, "yuv420p", Fraction(1, 10)
            black = av.VideoFrame.from_ndarray(np.zeros((72, width), np.uint8), format="yuv420p")
            for packet in [*codec.encode(black), *codec.encode()]:
                raw.write(bytes(packet))
    with pytest.raises(MediaError, match="96x48") as caught:
        images(path)
    assert (caught.value.status, caught.value.frame) == ("corrupt", 1)


def test_playlists_pull_in_nothing(tmp_path, make_video):
    make_video("clip.mp4", 3)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        images(playlist)


def test_empty_frames_of_avi_are_no_damage(tmp_path):
    """Capture tools write empty chunks for gaps in time: fewer frames than the header counts, and a sound file."""
    path = tmp_path / "gap.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for index, time in enumerate([0, 1, 2, 3, 6, 7, 8, 11]):
            frame = av.VideoFrame.from_ndarray(np.full((80, 96, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 12
    for decoder in ("pyav", "decord"):
        assert len(images(path, decoder=decoder)) == 8
    assert probe(str(path)).num_frames is None
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError, match="short|truncated|damaged|cut off"):
        images(path)


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile clip.mp4\n", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "1\n" * 99],
)
def test_only_forms_on_the_list_are_opened(tmp_path, make_video, content):
    make_video("clip.mp4", 3)
    path = tmp_path / "list.mp4"
    path.write_text(content)
    with pytest.raises(MediaError) as caught:
        images(path)
    assert caught.value.status == "corrupt"


def test_streams_without_a_size_are_named(make_video, tmp_path):
    path = make_video("clip.ts", 3)
    path.write_bytes(path.read_bytes().replace(b"\0\0\0\1\x67", b"\0\0\0\1\x6c").replace(b"\0\0\1\x67", b"\0\0\1\x6c"))
    with pytest.raises(MediaError) as caught:
        images(path)
    assert caught.value.status == "corrupt"
    assert "0x0" not in str(caught.value)
    assert "size of its frames is not known" in str(caught.value)
