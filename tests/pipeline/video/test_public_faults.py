"""Faults that users of other readers report: each file here once gave wrong frames or none."""

import zipfile
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.video import Selection, read_frames
from schemas.errors import MediaError

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 220), (200, 200, 60)]


def colours(path, decoder="pyav") -> list[int]:
    """Which of COLOURS each frame has in its middle."""
    frames = [frame.image for frame in read_frames(str(path), Selection(), decoder=decoder)]
    middles = [image[image.shape[0] // 2, image.shape[1] // 2].astype(int) for image in frames]
    return [int(np.abs(np.array(COLOURS) - middle).sum(axis=1).argmin()) for middle in middles]


def encode(path, codec="libx264", form="yuv420p", times=range(4), options=None, **container):
    with av.open(str(path), "w", **container) as output:
        stream = output.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 96, 80, form
        stream.codec_context.time_base = Fraction(1, 10)
        for colour, time in zip(COLOURS, times, strict=True):
            image = np.full((80, 96, 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=form)
            frame.pts, frame.time_base = time, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("variable rate.mp4", {"times": [0, 1, 7, 30]}),
        ("starts late.mkv", {"times": [50, 51, 52, 53]}),
        ("fragments.mp4", {"container": {"options": {"movflags": "frag_keyframe+empty_moov"}}}),
        ("alpha.webm", {"codec": "libvpx-vp9", "form": "yuva420p"}),
        ("ten bits.mp4", {"form": "yuv420p10le"}),
        ("b frames.mp4", {"options": {"bf": "3", "x264-params": "open-gop=1:keyint=3"}}),
        ("interlaced.mkv", {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}}),
        ("bottom up.avi", {"codec": "rawvideo", "form": "bgr24"}),
    ],
)
def test_frames_of_odd_videos(tmp_path, name, options, decoder):
    options = dict(options)
    path = encode(tmp_path / name, **options.pop("container", {}), **options)
    assert colours(path, decoder) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "LA", "P", "1", "I;16"])
def test_modes_of_pictures(tmp_path, mode):
    gray = mode in ("LA", "1", "I;16")
    picture = Image.new("RGB", (96, 80), (255, 255, 255) if gray else COLOURS[0])
    if mode == "I;16":
        picture = Image.fromarray(np.full((80, 96), 65535, np.uint16))
    elif mode == "RGBA":
        picture.putalpha(0)  # what is transparent keeps its colour
    else:
        picture = picture.quantize(16) if mode == "P" else picture.convert(mode)
    name = "a.jpg" if mode == "CMYK" else "a.png"
    picture.save(tmp_path / name, **({"quality": 95} if mode == "CMYK" else {}))
    (frame,) = read_frames(str(tmp_path / name), Selection())
    expected = (255, 255, 255) if gray else COLOURS[0]
    assert np.abs(frame.image.reshape(-1, 3).astype(int) - expected).max() <= 6


def test_an_animation_that_stores_changes_only(tmp_path):
    pictures = []
    for shift in range(3):
        pixels = np.full((40, 60, 3), 60, np.uint8)
        pixels[10:20, 10 * shift : 10 * shift + 10] = 255
        pictures.append(Image.fromarray(pixels))
    for suffix in ("webp", "png"):
        options = {"lossless": True} if suffix == "webp" else {}
        pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:], **options)
        frames = [frame.image for frame in read_frames(str(tmp_path / f"a.{suffix}"), Selection())]
        np.testing.assert_array_equal(frames, [np.asarray(picture) for picture in pictures])


@pytest.mark.parametrize("stored", ["clips/clip.mp4", "clips\\clip.mp4"])
def test_zips_of_other_tools(tmp_path, stored):
    """With sizes of 64 bits, and with the separators of Windows."""
    clip = encode(tmp_path / "clip.mp4")
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
        archive.open(zipfile.ZipInfo(stored), "w", force_zip64=True) as member,
    ):
        member.write(clip.read_bytes())
    assert colours(f"zip://clips/clip.mp4::{tmp_path}/a.zip") == [0, 1, 2, 3]


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_frames_with_the_time_of_the_one_before(tmp_path, decoder):
    """Capture tools write them (github.com/voxel51/eta/issues/220); each is a frame."""
    path = tmp_path / "same times.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        packets = []
        for colour in COLOURS:
            image = np.full((80, 96, 3), colour, np.uint8)
            packets += stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        for packet, time in zip([*packets, *stream.encode()], [0, 1, 1, 2], strict=True):
            packet.pts = packet.dts = time
            output.mux(packet)
    assert colours(path, decoder) == [0, 1, 2, 3]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [2, 20, 0.5])
def test_a_truncated_jpeg_is_no_gray_picture(tmp_path, progressive, lost):
    """Others fill the rest with gray or black (github.com/python-pillow/Pillow/issues/2717)."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "0.jpg", progressive=progressive)
    content = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "0.jpg").write_bytes(content[: -(lost if lost > 1 else len(content) // 2)])
    with pytest.raises(MediaError, match="image file is truncated") as caught:
        list(read_frames(str(tmp_path / "0.jpg"), Selection()))
    assert caught.value.status == "corrupt"
