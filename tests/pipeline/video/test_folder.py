import contextlib
import os
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.video import Selection, probe, read_frames
from pipeline.video.folder import in_order, list_frames, odd_names, order_notes
from pipeline.video.picture import decode
from schemas.errors import MediaError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOUR = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def error_of(folder) -> MediaError:
    with pytest.raises(MediaError) as caught:
        list(read_frames(str(folder), Selection()))
    return caught.value


ORDERS = {
    "decimals": ["1.25", "1.5", "1.75", "2.0", "2.25", "10.5"],
    "decimals below one": ["0.05", "0.5", "0.75"],
    "whole numbers and decimals": ["1", "1.5", "2", "10"],
    "time stamps": ["1403636579.5", "1403636579.763", "1403636580.25"],
    "scene and frame": ["1.8", "1.9", "1.10", "1.11", "2.1"],
    "scene and frame, from one": ["1.1", "1.2", "1.10", "1.20"],
    "decimals in words": ["t0.25s", "t0.5s", "t0.75s", "t1.0s", "t10.25s"],
    "decimals after a number": ["cam2_0.5", "cam2_1.25", "cam2_1.5"],
    "every second frame of a scene": ["1.1", "1.3", "1.5", "1.7", "1.9", "1.11", "1.13"],
    "every second frame of scenes": ["shot_1.7", "shot_1.9", "shot_1.11", "shot_2.9", "shot_2.11"],
    "quarters": ["0.0", "0.25", "0.5", "0.75", "1.0", "1.25"],
    "twentieths": ["0.05", "0.1", "0.15", "0.2", "0.25"],
    "hexadecimal": ["f008", "f009", "f00a", "f00b", "f010"],
    "hexadecimal in capitals": ["0008", "0009", "000A", "0010"],
    "whole numbers": ["1", "2", "10"],
    "padded": ["0001", "0002", "0010"],
    "words": ["a2", "a10", "b1"],
    "full-width digits": ["f8", "f９", "f１０"],
    "Arabic digits": ["f٨", "f٩", "f١٠"],
    "two Unicode forms of one letter": ["e\u0301_1", "\u00e9_2", "e\u0301_10"],
    "padded with blanks": ["img  8", "img  9", "img 10", "img 100"],
    "below and above zero": ["t-10", "t-2", "t-1", "t0", "t1", "t10"],
    "hyphens before numbers": ["t-1", "t-2", "t-10"],
    "with 0x": ["f0x8", "f0x9", "f0xa", "f0xB", "f0x10", "f0x1F"],
    "with exponents": ["t1e-05s", "t0.001s", "t0.5s", "t2s", "t1.5e+16s"],
    "episodes": ["s1e1", "s1e2", "s1e10", "s2e1"],
    "of a video whose name ends in 3e": ["4f3e-1", "4f3e-2", "4f3e-10"],
    "after a hyphen": ["a1e-1", "a1e-2", "b1e-1"],
    "dates": ["2024-1-9", "2024-1-10", "2024-2-1"],
}


@pytest.mark.parametrize("name", ORDERS)
def test_names_are_in_the_order_that_they_count(name):
    assert in_order({*ORDERS[name]}) == ORDERS[name]


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


@pytest.mark.parametrize(
    "names",
    [
        ["frame_1", "frame_2", "frame_9", "frame_10", "frame_12", "frame_100"],
        ["1", "2", "10", "mountain"],
        ["cam2_9", "cam2_10", "cam10_1"],
        ["IMG_9", "img_10", "IMG_11"],
        ["clip-001", "clip-2", "clip-010"],
        ["00001", "00002", "00010"],
        ["a", "a1", "a1b", "a2", "b"],
        ["t0.5", "t1.0", "t10.0"],
    ],
)
def test_numbers_count_as_numbers_whatever_is_around_them(make_folder, names):
    folder = make_folder("frames", {f"{name}.png": GRAY for name in reversed(names)})
    assert list(list_frames(str(folder))) == names


def test_content_tells_the_form(make_folder):
    folder = make_folder("frames", {"0.png": COLOUR, "1.webp": COLOUR, "2.bmp": COLOUR, "3.tiff": COLOUR})
    Image.fromarray(COLOUR).save(folder / "4.jpg", "WEBP", lossless=True)
    Image.fromarray(COLOUR).save(folder / "5.jfif", "JPEG")
    frames = list(read_frames(str(folder), Selection()))
    assert [frame.name for frame in frames] == list("012345")
    for frame in (frames[0], frames[2], frames[3], frames[4]):
        np.testing.assert_array_equal(frame.image, COLOUR)
    (folder / "4.jpg").write_text("<html><body>403 Forbidden</body></html>")
    error = error_of(folder)
    assert (error.status, error.frame) == ("corrupt", "4")
    assert "is not an image, but a web page, as of a login or an error; download the file again" in str(error)


def test_nothing_is_left_out_of_a_folder_without_a_word(make_folder):
    folder = make_folder("frames", {"0.png": GRAY})
    (folder / "1.heic").write_bytes(b"x")
    error = error_of(folder)
    assert (error.status, error.frame) == ("bad_row", "1")
    assert ".heic files cannot be read; convert them" in str(error)
    (folder / "1.heic").unlink()
    Image.fromarray(GRAY).save(folder / "1.gif")
    error = error_of(folder)
    assert (error.status, error.frame) == ("bad_row", "1")
    assert "1.gif counts like the frames, and GIF files are not read as frames; convert it to PNG" in str(error)
    (folder / "1.gif").rename(folder / "preview.gif")
    assert list(list_frames(str(folder))) == ["0"]
    (folder / "preview.gif").rename(folder / "0.gif")
    assert list(list_frames(str(folder))) == ["0"]
    (folder / "0.gif").unlink()
    Image.fromarray(GRAY).save(folder / "1.png", save_all=True, append_images=[Image.fromarray(GRAY + 1)])
    assert "an animation of 2 images" in str(error_of(folder))
    (folder / "0.png").rename(folder / "0.png.part")
    (folder / "1.png").rename(folder / "1.png.part")
    assert "(2 other files, such as '0.png.part')" in str(error_of(folder))


@pytest.mark.parametrize("suffix", ["png", "apng", "webp", "tiff"])
def test_animations_are_videos(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    images = [Image.fromarray(np.full((16, 24, 3), 40 * index, np.uint8)) for index in range(5)]
    options = {"lossless": True} if suffix == "webp" else {}
    form = "PNG" if suffix == "apng" else None
    images[0].save(path, form, save_all=True, append_images=images[1:], **options)
    frames = list(read_frames(str(path), Selection()))
    assert [(frame.name, int(frame.image[0, 0, 0])) for frame in frames] == [(f"{i:05d}", 40 * i) for i in range(5)]
    assert probe(str(path)).num_frames == 5
    assert [frame.index for frame in read_frames(str(path), Selection(indices=(1, 4)))] == [1, 4]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(MediaError):
        list(read_frames(str(path), Selection()))


@pytest.mark.parametrize(
    ("suffix", "durations"), [("webp", [40, 500, 20, 40, 60]), ("png", [40, 500, 20, 40, 60]), ("png", [0] * 5)]
)
def test_the_times_of_an_animation(tmp_path, suffix, durations):
    """Without durations, as browsers show them."""
    path = str(tmp_path / f"moving.{suffix}")
    images = [Image.fromarray(np.full((16, 24, 3), 40 * index, np.uint8)) for index in range(5)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations)
    shown = [duration or 100 for duration in durations]
    frames = list(read_frames(path, Selection()))
    assert [frame.duration for frame in frames] == [Fraction(duration, 1000) for duration in shown]
    assert [frame.time for frame in frames] == [Fraction(sum(shown[:at]), 1000) for at in range(5)]


def test_the_still_picture_of_an_animation_is_no_frame(tmp_path):
    """An APNG may begin with a picture for programs that cannot animate; players and FFmpeg leave it out."""
    images = [Image.fromarray(np.full((16, 24, 3), 40 * index, np.uint8)) for index in range(5)]
    path = tmp_path / "moving.png"
    images[0].save(path, save_all=True, append_images=images[1:], default_image=True)
    frames = list(read_frames(str(path), Selection()))
    assert [(frame.name, int(frame.image[0, 0, 0])) for frame in frames] == [
        (f"{i:05d}", 40 * (i + 1)) for i in range(4)
    ]
    assert probe(str(path)).num_frames == 4
    with av.open(str(path), format="apng") as container:
        assert [int(frame.to_rgb().to_ndarray()[0, 0, 0]) for frame in container.decode(video=0)] == [40, 80, 120, 160]


def test_odd_names_are_told_in_any_script():
    assert odd_names(["f８.png", "f９.png", "f１０.png", "img  1.png"]) == ["img  1.png"]
    assert order_notes(["img  1.png", "img 10.png", "img  2.png"]) == (False, [])


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
        "lossless.webp": (rgb, COLOUR),
        "two.bmp": (rgb, COLOUR),
        "deep.tiff": (Image.fromarray(GRAY.astype(np.uint16) * 257), np.repeat(GRAY[..., None], 3, 2)),
        "deep.pgm": (Image.fromarray(GRAY.astype(np.uint16) * 257), np.repeat(GRAY[..., None], 3, 2)),
        "bit.png": (Image.fromarray(GRAY > 20), np.repeat(((GRAY > 20) * np.uint8(255))[..., None], 3, 2)),
    }
    for name, (image, wanted) in cases.items():
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        found = decode((tmp_path / name).read_bytes(), "clip", name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    deep = Image.fromarray(GRAY.astype(np.uint16) * 257)
    deep.save(tmp_path / "negative.tiff", tiffinfo={262: 0})  # white is zero, as scanners write it
    assert (decode((tmp_path / "negative.tiff").read_bytes(), "clip", "negative")[..., 0] == 255 - GRAY).all()
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(MediaError, match="convert it to 8 bits"):
        decode((tmp_path / "float.tiff").read_bytes(), "clip", "float")
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert decode((tmp_path / "cmyk.jpg").read_bytes(), "clip", "cmyk")[0, 0].tolist() == [255, 0, 0]


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


def test_a_broken_image_is_named(make_folder):
    folder = make_folder("frames", {f"{number}.png": GRAY for number in range(3)})
    (folder / "1.png").write_bytes(b"<html>")
    assert f"frame 1: {folder}/1.png is not an image" in str(error_of(folder))
    Image.fromarray(GRAY[:3]).save(folder / "1.png")
    assert f"frame 1: {folder}/1.png: frame size changes" in str(error_of(folder))


WHOLE = {"JPEG": b"\xff\xd8\xff\xe0", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF89a", "BMP": b"BM", "TIFF": b"II*\0"}


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("length", [1, 3, 9, 20])
def test_pictures_that_are_cut_in_their_header_are_told_as_such(form, length):
    content = (WHOLE[form] + bytes(range(30)))[:length]
    with pytest.raises(MediaError, match=rf"a is a \w+ that is cut off or damaged in its header \({length} bytes?\)"):
        decode(content, "a", "a")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not an image (the file is empty)"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "is not an image, but a video or an image of a form that cannot be read"),
        (b"secret: 0123456789abcdef\n", "is not an image, but text;"),
        (b"\x93NUMPY\x01\0 secret " + bytes(90), "is not an image, but data of another kind;"),
    ],
)
def test_no_byte_of_a_file_is_shown(content, text):
    with pytest.raises(MediaError) as told:
        decode(content, "a.jpg", "a")
    assert text in str(told.value)
    assert not any(shown in str(told.value) for shown in ("secret", "NUMPY", content[:4].hex(" ") or "0x"))


def write_turned(path, pixels, tag: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize(("first", "second"), [(1, 6), (6, 1), (3, 8), (5, 2)])
def test_mixed_exif_orientation_is_named(tmp_path, first, second):
    wide = np.zeros((10, 20, 3), np.uint8)
    for name, tag in (("0.png", first), ("1.png", first), ("2.png", second)):
        write_turned(tmp_path / name, wide, tag)
    error = error_of(tmp_path)
    assert (error.status, error.frame) == ("corrupt", "2")
    assert f"2.png: its EXIF orientation is {second}, that of 0.png is {first}: it is shown as" in str(error)
    write_turned(tmp_path / "2.png", wide[:7], first)
    assert "frame size changes from" in str(error_of(tmp_path))
    write_turned(tmp_path / "2.png", wide.transpose(1, 0, 2).copy(), first)  # another shape without another tag
    assert "frame size changes from" in str(error_of(tmp_path))
