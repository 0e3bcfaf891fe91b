"""Pictures as every player shows them: the expected values equal the output of the program `ffmpeg`."""

import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.video import Selection, probe, read_frames
from pipeline.video.orientation import UPRIGHT, of_matrix
from schemas.errors import MediaError

MATRICES = {  # a, b, c, d of the display matrix: what is shown
    (1, 0, 0, 1): lambda stored: stored,
    (-1, 0, 0, 1): lambda stored: stored[:, ::-1],
    (1, 0, 0, -1): lambda stored: stored[::-1],
    (-1, 0, 0, -1): lambda stored: stored[::-1, ::-1],
    (0, 1, 1, 0): lambda stored: stored.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda stored: np.rot90(stored, -1),
    (0, -1, 1, 0): lambda stored: np.rot90(stored),
    (0, -1, -1, 0): lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
}
EXIF = {  # tag: how the upright picture is stored
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown),
    7: lambda shown: shown.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda shown: np.rot90(shown, -1),
}
SHOWN = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def set_matrix(path, a, b, c, d, scale=1 << 16) -> None:
    """Overwrite the display matrix in the first track header of an MP4."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    numbers = (round(a * scale), round(b * scale), 0, round(c * scale), round(d * scale), 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, start, *numbers)
    path.write_bytes(data)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_all_eight_orientations_of_a_video(make_video, decode_all, matrix, decoder):
    path = make_video("clip.mp4", 3)
    stored = decode_all(path)
    set_matrix(path, *matrix)
    frames = list(read_frames(str(path), Selection(), decoder=decoder))
    for frame, image in zip(frames, stored, strict=True):
        np.testing.assert_array_equal(frame.image, MATRICES[matrix](image))
        assert frame.image.flags.c_contiguous
    header = probe(str(path))
    assert (header.height, header.width) == frames[0].image.shape[:2]


@pytest.mark.parametrize("form", ["mkv", "mov", "3gp"])
@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_all_eight_orientations_in_other_containers(make_video, decode_all, remux, matrix, form):
    """Matroska and WebM hold angles and a mirror (Projection, RFC 9559, 5.1.4.1.31), not a matrix."""
    path = make_video("clip.mp4", 2)
    stored = decode_all(path)
    set_matrix(path, *matrix)
    copy = remux(path, f"copy.{form}")
    for decoder in ("pyav", "decord"):
        frames = list(read_frames(str(copy), Selection(), decoder=decoder))
        for frame, image in zip(frames, stored, strict=True):
            np.testing.assert_array_equal(frame.image, MATRICES[matrix](image))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("tag", EXIF)
def test_all_eight_orientations_of_an_image(tmp_path, tag, form):
    shown = SHOWN if form in ("PNG", "TIFF") else np.kron(SHOWN[:3, :4], np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = tag
    folder = tmp_path / "frames"
    folder.mkdir()
    stored = Image.fromarray(np.ascontiguousarray(EXIF[tag](shown)))
    stored.save(
        folder / f"00000.{form.lower()}", form, exif=exif, **({} if form in ("PNG", "TIFF") else {"quality": 98})
    )
    for uri in (folder, folder / f"00000.{form.lower()}"):
        (frame,) = read_frames(str(uri), Selection())
        assert frame.image.shape == shown.shape
        tolerance = 0 if form in ("PNG", "TIFF") else 8
        assert np.abs(frame.image.astype(int) - shown).mean() <= tolerance
        header = probe(str(uri))
        assert (header.height, header.width) == shown.shape[:2]


def test_other_angles_are_refused(make_video):
    path = make_video("clip.mp4", 3)
    half = 0.5**0.5
    set_matrix(path, half, half, -half, half)
    with pytest.raises(MediaError, match="no right angle"):
        list(read_frames(str(path), Selection()))


def test_scales_and_empty_matrices_change_nothing(make_video, decode_all):
    """The size of pixels is not part of the orientation, and what has no area is ignored."""
    path = make_video("clip.mp4", 1)
    for matrix in ((0.5, 0, 0, 2), (0, 0, 0, 0), (1, 0.003, -0.003, 1)):
        set_matrix(path, *matrix)
        (frame,) = read_frames(str(path), Selection())
        np.testing.assert_array_equal(frame.image, decode_all(path)[0])
    assert of_matrix(bytes(36)) == UPRIGHT


def test_damaged_exif_data_is_ignored(tmp_path):
    Image.fromarray(SHOWN).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01")
    (frame,) = read_frames(str(tmp_path / "a.png"), Selection())
    np.testing.assert_array_equal(frame.image, SHOWN)


def test_pixels_are_never_stretched(tmp_path):
    """A pixel aspect ratio is ignored: masks are as large as the stored picture."""
    import av

    path = tmp_path / "dvd.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((80, 96, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode())
    (frame,) = read_frames(str(path), Selection())
    assert frame.image.shape == (80, 96, 3)
