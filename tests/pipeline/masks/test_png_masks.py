"""PNG masks in every form: the values of one file, their meaning in a tree, and the masks that come out."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.io import storage
from pipeline.masks.annotations import Annotations
from pipeline.masks.encode_values import encode_values
from pipeline.masks.mask_values import LUMA_IDS
from pipeline.masks.png_file import DAVIS_COLOURS, DAVIS_PALETTE, ColourError, read_png
from pipeline.masks.png_trees import DEFAULT_READING, PngTree, list_pngs
from pipeline.masks.predictions import read_predictions
from pipeline.masks.tree_masks import TreeMasks
from pipeline.masks.write_png import palette_png
from schemas import rle
from schemas.errors import ImplausibleError, InputError, MediaError, StorageError

LABELS = np.array([[0, 1, 1, 0], [2, 3, 0, 0], [2, 3, 3, 1]], np.uint8)
ONE = LABELS == 1


def as_png(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def in_bits(labels: np.ndarray, bits: int) -> bytes:
    """A palette image of 2 or 4 bits, whose header is then that of gray: Pillow writes no gray of so few bits."""
    import struct
    import zlib

    height, width = labels.shape
    packed = b""
    for row in labels:
        number = int("".join(f"{value:0{bits}b}" for value in row).ljust(-(-width * bits // 8) * 8, "0"), 2)
        packed += b"\0" + number.to_bytes(-(-width * bits // 8), "big")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")


def palette(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels, "P")
    image.putpalette(DAVIS_PALETTE)
    return image


FORMS = {
    "palette images": palette_png(LABELS),
    "8-bit gray": as_png(Image.fromarray(LABELS)),
    "2-bit gray": in_bits(LABELS, 2),
    "4-bit gray": in_bits(LABELS, 4),
    "16-bit gray": as_png(Image.fromarray(LABELS.astype(np.uint16))),
    "colours of the DAVIS palette": as_png(palette(LABELS).convert("RGB")),
    "RGB with equal planes": as_png(Image.fromarray(np.dstack([LABELS] * 3))),
    "RGBA with equal planes": as_png(Image.fromarray(np.dstack([LABELS] * 3 + [np.full_like(LABELS, 255)]))),
    "LA with equal planes": as_png(Image.fromarray(np.dstack([LABELS, np.full_like(LABELS, 255)]))),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_of_every_form(form):
    values, pixel_format = read_png("a.png", FORMS[form])
    np.testing.assert_array_equal(values, LABELS)
    assert pixel_format == form


def test_one_bit_and_small_palettes():
    np.testing.assert_array_equal(read_png("a.png", as_png(Image.fromarray(ONE))).values, ONE)
    for bits in (2, 4):
        np.testing.assert_array_equal(read_png("a.png", as_png(palette(LABELS), bits=bits)).values, LABELS)


def test_what_is_no_mask(tmp_path):
    colours = as_png(Image.fromarray(np.dstack([LABELS * 9, LABELS, LABELS])))
    with pytest.raises(ColourError, match=r"a\.png: mask of mode RGB in colours that are not of the DAVIS palette"):
        read_png("a.png", colours)
    np.testing.assert_array_equal(read_png("a.png", colours, binary=True).values > 0, LABELS > 0)
    clear = as_png(Image.fromarray(np.dstack([LABELS] * 3 + [LABELS])))
    with pytest.raises(ColourError, match="transparent pixels"):
        read_png("a.png", clear)
    for content, reason in ((colours[:60], "truncated"), (b"", "empty"), (b"GIF89a", "not a PNG file")):
        with pytest.raises(MediaError, match=f"cannot be read .*{reason}"):
            read_png("a.png", content)
    with pytest.raises(MediaError, match=r"b\.png"):
        read_png(str(tmp_path / "b.png"))


def test_a_picture_is_no_mask():
    """As where the folder of frames is given in place of the folder of masks."""
    picture = np.random.default_rng(0).integers(1, 256, (40, 60, 3), dtype=np.uint8)
    with pytest.raises(
        ColourError, match=r"a\.png: \d+ colours and no black: a picture, not a mask; give the folder of"
    ):
        read_png("a.png", as_png(Image.fromarray(picture)), binary=True)
    object_alone = picture * np.tri(40, 60, dtype=np.uint8)[..., None]
    cut_out = read_png("a.png", as_png(Image.fromarray(object_alone)), binary=True)
    np.testing.assert_array_equal(cut_out.values > 0, object_alone.any(2))
    whole = read_png("a.png", as_png(Image.new("RGB", (60, 40), (200, 30, 30))), binary=True)
    assert (whole.values == 255).all()


def in_palette(labels: np.ndarray, *colours: tuple[int, int, int]) -> bytes:
    image = Image.fromarray(labels, "P")
    image.putpalette(bytes(value for colour in colours for value in colour))
    return as_png(image)


def test_a_palette_from_white_to_black_is_read_as_shown():
    """0 and 255 are no ids, so the colours decide: an inverted picture in palette form is not the background."""
    is_object = LABELS > 0
    inverted = [(255 - gray,) * 3 for gray in range(256)]
    content = in_palette(np.where(is_object, 0, 255).astype(np.uint8), *inverted)
    for binary in (False, True):
        np.testing.assert_array_equal(read_png("a.png", content, binary=binary).values, is_object * 255)
    ids = np.where(is_object, 1, 0).astype(np.uint8)
    np.testing.assert_array_equal(read_png("a.png", in_palette(ids, *inverted)).values, ids)


BLACK, RED, GREEN, OLIVE, BLUE = (tuple(DAVIS_PALETTE[3 * i : 3 * i + 3]) for i in range(5))


def test_palettes_in_the_order_of_another_program_are_read_by_colour():
    """As the same masks in RGB: Pillow, pngquant and others sort the entries, and the background is not 0 then."""
    labels = LABELS.repeat(8, 0).repeat(8, 1)
    colours = palette(labels).convert("RGB")
    forms = {
        "quantize": as_png(colours.quantize(8)),
        "adaptive": as_png(colours.convert("P", palette=Image.Palette.ADAPTIVE)),
        "remap": as_png(palette(labels).remap_palette([2, 3, 0, 1])),
    }
    for name, content in forms.items():
        values, pixel_format = read_png("a.png", content)
        assert pixel_format == DAVIS_COLOURS, name
        np.testing.assert_array_equal(values, labels, name)
        np.testing.assert_array_equal(read_png("a.png", content, binary=True).values > 0, labels > 0, name)
    empty = in_palette(np.full((4, 4), 2, np.uint8), RED, GREEN, BLACK)
    assert not read_png("a.png", empty).values.any()
    assert not read_png("a.png", empty, binary=True).values.any()


def test_palettes_that_may_be_read_in_two_ways_are_refused():
    """An optimiser drops the entries of objects that a picture does not show, and numbers the others anew."""
    two = np.where(LABELS > 2, 0, LABELS)
    for labels, colours, reason in (
        (two, (BLACK, RED, OLIVE), "index 2 of its palette has the colour that DAVIS gives the id 3"),
        (two.clip(0, 1), (BLACK, GREEN), "index 1 of its palette has the colour that DAVIS gives the id 2"),
        (two, (RED, OLIVE, GREEN), "index 0 of its palette has the colour that DAVIS gives the id 1"),
        (two, ((236, 95, 103), BLACK, (249, 145, 87)), "black, the background, is index 1 of its palette, not 0"),
    ):
        content = in_palette(labels.astype(np.uint8), *colours)
        with pytest.raises(ColourError, match=rf"a\.png: {reason}.*save object ids as gray PNG"):
            read_png("a.png", content)
        black = colours.index(BLACK) if BLACK in colours else 0
        np.testing.assert_array_equal(read_png("a.png", content, binary=True).values > 0, labels != black)


def test_palettes_of_their_own_are_read_by_index():
    two = np.where(LABELS > 2, 0, LABELS)
    for colours in (
        (BLACK, BLUE, GREEN, (0, 128, 128), RED),  # the palette of DAVIS with blue for red, as OpenCV writes it
        (BLACK, (236, 95, 103), (249, 145, 87)),
        (BLACK, RED, BLACK),  # an entry that nobody set
    ):
        values, pixel_format = read_png("a.png", in_palette(two.astype(np.uint8), *colours))
        np.testing.assert_array_equal(values, two)
        assert pixel_format == "palette images"


def test_a_storage_that_fails_does_not_make_a_mask_corrupt(monkeypatch):
    def fail(uri, limit):
        raise StorageError(f"{uri}: no answer")

    monkeypatch.setattr(storage, "read_bytes", fail)
    with pytest.raises(StorageError, match="no answer"):
        read_png("s3://bucket/a.png")


@pytest.mark.parametrize("seed", range(40))
def test_strings_equal_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2))
    image = rng.integers(0, rng.integers(2, 6), shape).astype(np.uint8 if seed % 4 < 2 else np.uint16)
    if seed % 2:
        image[rng.random(shape) < 0.9] = 0
    found = encode_values(image)
    assert {value: mask.counts for value, mask in found.items()} == {
        value: rle.encode((image == value)[None])[0] for value in np.unique(image).tolist() if value
    }
    assert {value: mask.pixels for value, mask in found.items()} == {
        value: np.count_nonzero(image == value) for value in np.unique(image).tolist() if value
    }


def tree_of(tmp_path, images: dict[str, np.ndarray]) -> TreeMasks:
    for name, image in images.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, "PNG")
    masks = read_predictions(str(tmp_path))
    assert isinstance(masks, TreeMasks)
    return masks


def objects_of(masks: TreeMasks) -> dict[tuple, bytes]:
    rows = masks.annotations()[0].to_pylist()
    return {(row["video_id"], row["object_id"]): row["counts"] for row in rows}


@pytest.mark.parametrize("top", [255, 65535])
def test_0_and_255_are_one_object(tmp_path, top):
    image = (ONE * top).astype(np.uint16 if top > 255 else np.uint8)
    masks = tree_of(tmp_path, {"v/0.png": image, "v/1.png": image * 0})
    table, void = masks.annotations()
    assert void is None
    assert table["counts"].to_pylist() == [rle.encode(ONE[None])[0], None]
    assert f"only 0 and {top}, one object" in masks.meaning.text
    renamed = masks.with_objects({"v": frozenset(["7"])})
    assert set(objects_of(renamed)) == {("v", "7")}
    with pytest.raises(ImplausibleError, match=r"the masks show one object, but v has several \(1, 2\)"):
        masks.with_objects({"v": frozenset("12")})


def test_255_next_to_ids_is_void(tmp_path):
    masks = tree_of(tmp_path, {"v/0.png": np.where(LABELS == 3, 255, LABELS).astype(np.uint8)})
    table, void = masks.annotations()
    assert table["object_id"].to_pylist() == ["1", "2"]
    assert void is not None
    assert void["counts"].to_pylist() == [rle.encode((LABELS == 3)[None])[0]]


def soft_square() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((32, 48), bool)
    mask[8:24, 10:30] = True
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((24, 16), Image.Resampling.BILINEAR)
    soft = np.asarray(small.resize((48, 32), Image.Resampling.BICUBIC))
    assert len(np.unique(soft)) > 2
    return soft, soft >= 128


@pytest.mark.parametrize("name", ["v/0.png", "v/e/0.png"])
@pytest.mark.parametrize("form", ["gray", "rgb", "16-bit"])
def test_soft_masks_are_cut_at_half(tmp_path, name, form):
    soft, hard = soft_square()
    image = {"gray": soft, "rgb": np.dstack([soft] * 3), "16-bit": soft.astype(np.uint16) * 257}[form]
    masks = tree_of(tmp_path, {name: image, name.replace("0.png", "1.png"): image * 0})
    assert masks.annotations()[0]["counts"].to_pylist()[0] == rle.encode(hard[None])[0]
    assert "soft masks" in masks.meaning.text


def test_several_ids_in_a_mask_of_an_expression_are_foreground(tmp_path):
    masks = tree_of(tmp_path, {"v/e/0.png": LABELS})
    assert masks.annotations()[0]["counts"].to_pylist() == [rle.encode((LABELS > 0)[None])[0]]


def test_gray_of_the_davis_palette(tmp_path):
    gray = np.asarray(palette(LABELS).convert("L"))
    assert {int(value) for value in np.unique(gray)} == {0, 38, 75, 113}
    assert [LUMA_IDS[value] for value in (38, 75, 113)] == [1, 2, 3]
    masks = tree_of(tmp_path, {"v/0.png": gray}).with_objects({"v": frozenset("123")})
    assert objects_of(masks) == {("v", str(n)): rle.encode((n == LABELS)[None])[0] for n in (1, 2, 3)}
    assert masks.meaning.text.endswith("gray of the DAVIS palette, read as its ids")


def test_one_foreign_value_is_the_one_object(tmp_path):
    masks = tree_of(tmp_path, {"v/0.png": ONE.astype(np.uint8) * 9})
    assert set(objects_of(masks.with_objects({"v": frozenset("4")}))) == {("v", "4")}
    assert masks.with_objects({"v": frozenset("9")}) is masks
    assert masks.with_objects({"other": frozenset("4")}) is masks
    with pytest.raises(ImplausibleError, match=r"in v: 9; its objects: 1, 2"):
        masks.with_objects({"v": frozenset("12")})


def test_many_ids_stay_ids(tmp_path):
    image = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert len(objects_of(tree_of(tmp_path, {"v/0.png": image}))) == 199


def test_suffixes_in_any_case_and_hidden_files(tmp_path):
    masks = tree_of(tmp_path, {"v/0.PNG": LABELS, "v/1.Png": LABELS})
    (tmp_path / "v/._0.png").write_bytes(b"resource fork")
    assert Annotations.open(str(tmp_path)).keys_by_video() == masks.keys_by_video() == {"v": frozenset("123")}
    assert [frame.name for frame in masks.frames[("v",)]] == ["0", "1"]
    Image.fromarray(LABELS).save(tmp_path / "v/0.png")
    tree = PngTree.find(str(tmp_path))
    assert tree
    with pytest.raises(InputError, match="2 masks named 0"):
        list(tree.read(DEFAULT_READING))


def test_any_number_of_workers_reads_the_same(tmp_path):
    masks = tree_of(tmp_path, {f"v{n}/{frame}.png": np.roll(LABELS, n + frame) for n in range(3) for frame in range(4)})
    tree = PngTree.find(str(tmp_path))
    assert tree
    counted = []
    for workers in (1, 7):
        again = TreeMasks.read(
            tree, DEFAULT_READING._replace(workers=workers, on_progress=lambda *n: counted.append(n))
        )
        assert again == masks
    assert counted == [(n, 12) for n in range(1, 13)] * 2
    assert masks.annotations()[0]["counts"].null_count == 0


def test_unnumbered_names_count_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / f"frame_{number}.png").touch()
    assert list_pngs(str(tmp_path)) == [(0, "frame_1.png"), (1, "frame_2.png"), (2, "frame_10.png")]


def test_a_video_of_another_form_is_read_on_its_own(tmp_path):
    """0/255 among 0/1 is an object, not void; 0/1 among soft masks is not below their half."""
    image, top = ONE.astype(np.uint8), np.uint8(255)
    masks = tree_of(tmp_path / "labels", {"a/0.png": image, "b/0.png": image * top, "b/1.png": image * 0})
    assert objects_of(masks) == {("a", "1"): rle.encode(ONE[None])[0], ("b", "1"): None}
    assert masks.annotations()[0]["counts"].to_pylist()[1] == rle.encode(ONE[None])[0]
    assert masks.annotations()[1] is None
    text = (
        "8-bit gray: values 1, object ids; of another form: 1, the first is b (8-bit gray: only 0 and 255, one object)"
    )
    assert masks.meaning.text == text
    renamed = masks.with_objects({"a": frozenset("1"), "b": frozenset("7")})
    assert set(objects_of(renamed)) == {("a", "1"), ("b", "7")}
    with pytest.raises(ImplausibleError, match=r"the masks of b show one object, but it has several \(1, 2\)"):
        masks.with_objects({"a": frozenset("1"), "b": frozenset("12")})


@pytest.mark.parametrize("folder", ["v", "v/e"])
@pytest.mark.parametrize("bits", [8, 16])
def test_crisp_and_shallow_masks_among_soft_ones(tmp_path, folder, bits):
    soft, hard = soft_square()
    deep = soft if bits == 8 else soft.astype(np.uint16) * 257
    forms = {"1": hard.astype(np.uint8), "255": hard.astype(np.uint8) * 255, "soft": soft, "deep": deep}
    name = {form: folder.replace("v", f"v{form}") for form in forms}
    masks = tree_of(tmp_path, {f"{name[form]}/0.png": image for form, image in forms.items()})
    assert masks.annotations()[0]["counts"].to_pylist() == [rle.encode(hard[None])[0]] * 4


def test_void_next_to_ids_of_the_same_video_stays_void(tmp_path):
    void = np.where(LABELS == 3, 255, ONE).astype(np.uint8)
    masks = tree_of(tmp_path, {"a/0.png": void, "b/0.png": ONE.astype(np.uint8)})
    assert not masks.own
    assert masks.annotations()[1] is not None


@pytest.mark.parametrize("name", ["v/0.png", "v/e/0.png"])
def test_exchanged_object_and_background_are_noted(tmp_path, name):
    masks = tree_of(tmp_path, {name: (~ONE).astype(np.uint8) * 255})
    assert masks.meaning.text.endswith("cover 75% of the pictures; are object and background exchanged?")


def test_animations_are_no_masks(tmp_path):
    frames = [Image.fromarray(ONE.astype(np.uint8) * value) for value in (1, 2)]
    (tmp_path / "v").mkdir()
    frames[0].save(tmp_path / "v/0.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"v/0\.png: an animation of 2 images is not a mask"):
        read_predictions(str(tmp_path))


@pytest.mark.parametrize("other", ["v/1.jpg", "w/0.bmp"])
def test_masks_of_another_form_are_not_passed_over(tmp_path, other):
    (tmp_path / other).parent.mkdir()
    Image.fromarray(ONE).convert("L").save(tmp_path / other)
    with pytest.raises(InputError, match="save all masks as PNG from the beginning, which keeps every value"):
        tree_of(tmp_path, {"v/0.png": ONE.astype(np.uint8)})
