"""Pictures of a few megabytes, or bytes, that would take minutes or gigabytes: each is refused before it does."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.masks.png_file import read_png
from pipeline.video import Selection, picture, probe, read_frames
from pipeline.video.picture_parts import MAX_BYTES, MAX_PAGES, MAX_SCANS
from schemas.errors import MediaError

MANY = 600_000


def saved(form: str, mode: str = "L", **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (16, 16), 1).save(content, form, **options)  # pyright: ignore[reportArgumentType]
    return content.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a PNG with chunks before its pixels and after them."""
    made = saved("PNG")
    return made[:33] + before + made[33:-12] + after + made[-12:]


def gif(between: bytes) -> bytes:
    frame = b",\0\0\0\0\1\0\1\0\0\2\2L\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + between + frame * 2 + b";"


def entry(tag: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, 4, 1, value)


def tiff(pages: int, tile: int = 0, packed: bytes = b"") -> bytes:
    """Return a TIFF of pages of one pixel, or of one larger tile."""
    entries = [entry(tag, value) for tag, value in ((256, 1), (257, 1), (258, 8), (259, 8 if tile else 1), (262, 1))]
    size = 6 + 12 * (10 if tile else 9)
    end = 8 + size * pages
    if tile:
        entries += [entry(*pair) for pair in ((277, 1), (322, tile), (323, tile), (324, end), (325, len(packed)))]
    else:
        entries += [entry(*pair) for pair in ((273, 8), (277, 1), (278, 1), (279, 1))]
    head = struct.pack("<H", len(entries)) + b"".join(entries)
    following = [8 + size * number for number in range(1, pages)] + [0]
    return b"II*\0\x08\0\0\0" + b"".join(head + struct.pack("<I", at) for at in following) + packed


def jpeg(inserted: bytes = b"", scans: int = 0) -> bytes:
    made = saved("JPEG", "RGB", progressive=True)
    scan = made[made.rfind(b"\xff\xda") : -2]
    return made[:2] + inserted + made[2:-2] + scan * scans + made[-2:]


def webp(chunks: int) -> bytes:
    made = saved("WEBP", "RGB", lossless=True)
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x0f\0\0\x0f\0\0" + b"XXXX\0\0\0\0" * chunks + made[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def jpeg2000(*, precinct: int = 15, block: int = 64, layers: int = 1, tile: int = 8192, in_tile: bool = False) -> bytes:
    """Return a stream of one gray picture with sides of 8192; `in_tile`: a tile says how it is cut."""
    size = struct.pack(">HIIIIIIIIH", 0, 8192, 8192, 0, 0, tile, tile, 0, 0, 1) + b"\7\1\1"
    side = block.bit_length() - 3

    def cut(exponent: int, power: int) -> bytes:
        style = struct.pack(">BBHBBBBBB", 1, 0, layers, 0, 5, power, power, 0, 1) + bytes([exponent * 17] * 6)
        return b"\xff\x52" + struct.pack(">H", len(style) + 2) + style

    steps = b"\x40" + bytes([64] * 16)
    head = cut(15, 4) if in_tile else cut(precinct, side)
    own = cut(precinct, side) if in_tile else b""
    main = b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + head
    main += b"\xff\x5c" + struct.pack(">H", len(steps) + 2) + steps
    part = own + b"\xff\x93" + b"\x80" * 100
    return main + b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 12 + len(part), 0, 1) + part + b"\xff\xd9"


BOMBS = {
    "texts.png": (lambda: png(chunk(b"tEXt") * MANY), "too many parts"),
    "unknown.png": (lambda: png(chunk(b"abCd") * MANY), "too many parts"),
    "pixels.png": (lambda: png(chunk(b"IDAT") * MANY), "too many parts"),
    "after.png": (lambda: png(after=chunk(b"tEXt") * MANY), "too many parts"),
    "comments.png": (lambda: gif(b"!\xfe\1\0\0" * MANY), "too many parts"),
    "images.png": (lambda: gif(b",\0\0\0\0\1\0\1\0\0\2\2L\1\0" * MANY), "too many parts"),
    "pages.tif": (lambda: tiff(MAX_PAGES + 1), f"more than {MAX_PAGES} pages"),
    "tile.tif": (lambda: tiff(1, tile=16384, packed=zlib.compress(bytes(2**20))), "larger than any image"),
    "markers.jpg": (lambda: jpeg(b"\xff\xfe\0\2" * MANY), "markers"),
    "filled.jpg": (lambda: jpeg(b"\xff" * 3 * MANY), "too many parts"),
    "scans.jpg": (lambda: jpeg(scans=MAX_SCANS), f"more than {MAX_SCANS} scans"),
    "chunks.webp": (lambda: webp(MANY), "chunks"),
    "boxes.avif": (lambda: saved("AVIF", "RGB") + b"\0\0\0\x08free" * MANY, "boxes"),
    "precincts.jp2": (lambda: jpeg2000(precinct=1), "blocks"),
    "blocks.jp2": (lambda: jpeg2000(block=4), "blocks"),
    "tile.jp2": (lambda: jpeg2000(precinct=1, in_tile=True), "blocks"),
    "tiles.jp2": (lambda: jpeg2000(tile=8), "blocks"),
    "layers.jp2": (lambda: jpeg2000(layers=65535), "65535 layers"),
    "comments.ppm": (lambda: b"P5\n" + b"#\n" * 2 * MANY + b"1 1\n255\n\0", "too many parts"),
    "digits.pgm": (lambda: b"P2\n1 1\n255\n0" + b" " * 2**26, "in digits"),
    "runs.bmp": (
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 1078, 40, 8, 8, 1, 8, 1, 0, 0, 0, 256, 0)
        + bytes(1024) + b"\0\2\0\0" * MANY,
        "too many parts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_many_parts_are_refused(tmp_path, name):
    make, reason = BOMBS[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(MediaError, match=reason):
        probe(str(tmp_path / name))
    with pytest.raises(MediaError, match=reason):
        list(read_frames(str(tmp_path / name), Selection()))


@pytest.mark.parametrize("name", ["texts.png", "unknown.png", "pixels.png", "after.png"])
def test_masks_of_many_parts_are_refused(name):
    with pytest.raises(MediaError, match="too many parts"):
        read_png("a.png", BOMBS[name][0]())


@pytest.mark.parametrize("start", [b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\2", b"\0\0\0\x20ftypavif"])
def test_a_file_without_an_end_is_not_read_whole_to_find_an_animation(tmp_path, start):
    path = tmp_path / ("a.webp" if start.startswith(b"RIFF") else "a.avif")
    with path.open("wb") as file:
        file.write(start)
        file.truncate(4 * MAX_BYTES)
    tracemalloc.start()
    assert not picture.is_animation(str(path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.1 * MAX_BYTES


def test_sound_pictures_of_many_parts_are_read(tmp_path):
    dice = np.random.default_rng(0)
    frames = [Image.fromarray(dice.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(200)]
    for name in ("a.webp", "a.tif", "a.png", "a.avif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40, lossless=True)
        assert len(list(read_frames(str(tmp_path / name), Selection()))) == 200
    for name, content in (
        ("j.jpg", jpeg()),
        ("j.jp2", saved("JPEG2000")),
        ("p.png", png(chunk(b"tEXt", b"a\0b") * 99)),
    ):
        (tmp_path / name).write_bytes(content)
        assert probe(str(tmp_path / name)).height == 16


def test_how_jpeg_2000_is_usually_cut_is_read(tmp_path):
    (tmp_path / "a.jp2").write_bytes(jpeg2000(precinct=7, block=32))
    assert probe(str(tmp_path / "a.jp2")).height == 8192
