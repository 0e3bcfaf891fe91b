import contextlib
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.video import Selection, probe, read_frames
from pipeline.video.folder import decode, list_frames
from schemas.errors import MediaError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOUR = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def error_of(folder) -> MediaError:
    with pytest.raises(MediaError) as caught:
        list(read_frames(str(folder), Selection()))
    return caught.value


def test_order_and_what_does_not_count(make_folder):
    folder = make_folder("frames", {f"{name}": GRAY for name in ("b.png", "a-1.jpg", "a.JPG", "c.d.jpeg")})
    (folder / ".hidden.jpg").write_text("x")
    (folder / "notes.txt").write_text("x")
    assert list(list_frames(str(folder))) == ["a", "a-1", "b", "c.d"]
    assert probe(str(folder)).num_frames == 4


def test_plain_numbers_count_as_numbers(make_folder):
    folder = make_folder("frames", {f"{index}.png": GRAY + index for index in (1, 2, 10)})
    frames = list(read_frames(str(folder), Selection()))
    assert [(frame.index, frame.name, int(frame.image[0, 0, 0])) for frame in frames] == [
        (0, "1", 1),
        (1, "2", 2),
        (2, "10", 10),
    ]


def test_gaps_in_names_are_no_gaps_in_the_sequence(make_folder):
    folder = make_folder("frames", {f"{index:05d}.png": GRAY for index in (5, 10, 30)})
    frames = list(read_frames(str(folder), Selection(names=("00030", "00005"))))
    assert [(frame.index, frame.name) for frame in frames] == [(0, "00005"), (2, "00030")]


def test_names_that_are_no_text_are_refused(make_folder):
    folder = make_folder("latin", {"a.png": GRAY})
    (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    error = error_of(folder)
    assert error.status == "bad_row"
    assert r"'caf\udce9.png' is not UTF-8; rename it" in str(error)


def test_bad_folders(make_folder):
    error = error_of(make_folder("doubled", {"a.jpg": GRAY, "a.png": GRAY}))
    assert (error.status, error.frame) == ("bad_row", "a")
    assert error_of(make_folder("empty", {})).status == "missing"
    error = error_of(make_folder("sizes", {"a.png": GRAY, "b.png": GRAY.T}))
    assert (error.status, error.frame) == ("corrupt", "b")
    assert "6x8" in str(error)
    folder = make_folder("damaged", {"a.png": GRAY, "b.png": GRAY})
    (folder / "b.png").write_bytes(b"")
    assert (error_of(folder).status, error_of(folder).frame) == ("corrupt", "b")
    (folder / "a.png").write_bytes(b"GIF89a")
    assert error_of(folder).frame == "a"


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {}), ("jpg", {"progressive": True}), ("png", {})])
def test_cut_off_images_are_never_padded(tmp_path, suffix, options):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path, **options)
    data = path.read_bytes()
    whole = decode(data, "clip", "a")
    for length in range(0, len(data), 97):
        with pytest.raises(MediaError):
            decode(data[:length], "clip", "a")
    for length in range(len(data) - 20, len(data)):  # nothing but an end mark may be missing
        with contextlib.suppress(MediaError):
            np.testing.assert_array_equal(decode(data[:length], "clip", "a"), whole)


def test_modes_become_rgb(tmp_path):
    rgb = Image.fromarray(COLOUR)
    palette = rgb.quantize(16)
    cases = {
        "gray.png": (Image.fromarray(GRAY), np.repeat(GRAY[..., None], 3, 2)),
        "deep.png": (Image.fromarray(GRAY.astype(np.uint16) * 257), np.repeat(GRAY[..., None], 3, 2)),
        "palette.png": (palette, np.asarray(palette.convert("RGB"))),
        "alpha.png": (Image.merge("RGBA", (*rgb.split(), rgb.split()[0])), COLOUR),
        "bit.png": (Image.fromarray(GRAY > 20), np.repeat(((GRAY > 20) * np.uint8(255))[..., None], 3, 2)),
    }
    for name, (image, wanted) in cases.items():
        image.save(tmp_path / name)
        found = decode((tmp_path / name).read_bytes(), "clip", name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert decode((tmp_path / "cmyk.jpg").read_bytes(), "clip", "cmyk")[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif)
    assert decode((tmp_path / "a.jpg").read_bytes(), "clip", "a").shape == COLOUR.shape


@pytest.mark.filterwarnings("ignore:.*decompression bomb")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_absurd_sizes_are_refused_before_decoding(side):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(MediaError) as caught:
        decode(bomb, "clip", "a")
    assert caught.value.status == "bad_row"
