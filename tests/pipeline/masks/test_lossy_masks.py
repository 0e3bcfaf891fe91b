"""Masks that went through a lossy codec, or stand on a gray background: read rightly, or refused."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import evaluate, import_masks
from jobs.config.import_dataset import ImportConfig
from pipeline.masks.predictions import read_predictions
from pipeline.masks.tree_masks import TreeMasks
from pipeline.masks.value_groups import object_cut
from schemas import rle
from schemas.errors import InputError
from tests.segmented import masks as masks_of_run

SIZE = (96, 128)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]
Draw = Callable[[np.ndarray], np.ndarray]


def disc(x: int, y: int, radius: int) -> np.ndarray:
    return (X - x) ** 2 + (Y - y) ** 2 < radius**2


LARGE = [disc(40 + 3 * frame, 48, 22) for frame in range(4)]
SMALL = [disc(100 - 2 * frame, 30, 14) for frame in range(4)]
RNG = np.random.default_rng(0)


def lossy(values: np.ndarray, codec: str, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(values).convert("RGB").save(file, codec, quality=quality)
    return np.asarray(Image.open(file).convert("L"))


def two(dark: int, bright: int, kind: type = np.uint8) -> Draw:
    return lambda mask: np.where(mask, bright, dark).astype(kind)


def scattered(dark: int, bright: int, span: int, kind: type = np.uint8) -> Draw:
    return lambda mask: (np.where(mask, bright, dark) + RNG.integers(0, span, mask.shape)).astype(kind)


def softened(values: np.ndarray) -> np.ndarray:
    image = Image.fromarray(values)
    small = image.resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))


ONE_OBJECT: dict[str, Draw] = {
    **{f"JPEG {q}": lambda mask, q=q: lossy(two(0, 255)(mask), "JPEG", q) for q in (95, 75, 30, 10)},
    **{f"WebP {q}": lambda mask, q=q: lossy(two(0, 255)(mask), "WEBP", q) for q in (90, 50)},
    "0 to 29 and 90 to 119": scattered(0, 90, 30),
    "20 and 220": two(20, 220),
    "2000 and 42000": two(2000, 42000, np.uint16),
    "ten bits": scattered(3, 1000, 20, np.uint16),
    "soft on gray": lambda mask: softened(two(20, 220)(mask)),
    "JPEG on gray": lambda mask: lossy(two(20, 220)(mask), "JPEG", 60),
    "JPEG of 200": lambda mask: lossy(two(0, 200)(mask), "JPEG", 60),
    "dim JPEG": lambda mask: lossy(two(0, 60)(mask), "JPEG", 80),
    "5 and 250": two(5, 250),
}


def write_tree(folder: Path, images: dict[str, np.ndarray]) -> str:
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name, "PNG")
    return str(folder)


def tree(folder: Path, draw: Draw, path: str, drawn=LARGE) -> TreeMasks:
    found = read_predictions(write_tree(folder, {f"{path}/{n:05}.png": draw(mask) for n, mask in enumerate(drawn)}))
    assert isinstance(found, TreeMasks)
    return found


def overlaps(masks: TreeMasks) -> list[float]:
    found = [rle.decode(counts, *SIZE) for counts in masks.annotations()[0]["counts"].to_pylist()]
    return [np.sum(one & mask) / np.sum(one | mask) for one, mask in zip(found, LARGE, strict=True)]


@pytest.mark.parametrize("path", ["v/e", "v"])
@pytest.mark.parametrize("form", ONE_OBJECT)
def test_the_bright_group_is_the_object(tmp_path, form, path):
    masks = tree(tmp_path, ONE_OBJECT[form], path)
    assert min(overlaps(masks)) > 0.995
    assert "foreground from" in masks.meaning.text
    assert "exchanged" not in masks.meaning.text


@pytest.mark.parametrize("form", ["JPEG 95", "20 and 220", "0 to 29 and 90 to 119"])
def test_frames_without_the_object_stay_empty(tmp_path, form):
    drawn = [*LARGE[:2], np.zeros(SIZE, bool)]
    for path in ("v/e", "v"):
        counts = tree(tmp_path / path, ONE_OBJECT[form], path, drawn).annotations()[0]["counts"].to_pylist()
        assert counts[2] in (None, rle.empty(*SIZE))


def test_a_palette_of_gray_is_gray(tmp_path):
    noisy = [Image.fromarray(ONE_OBJECT["JPEG 75"](mask)).convert("P") for mask in LARGE]
    for path in ("v/e", "v"):
        folder = tmp_path / path.replace("/", "")
        (folder / path).mkdir(parents=True)
        for number, image in enumerate(noisy):
            image.save(folder / path / f"{number:05}.png")
        masks = read_predictions(str(folder))
        assert isinstance(masks, TreeMasks)
        assert min(overlaps(masks)) == 1.0


def test_a_palette_that_begins_with_white(tmp_path):
    """The object is what a viewer shows as white, also in frames where it is absent or fills the picture."""
    for colours in ([255, 0], [*range(255, -1, -1)]):
        palette = np.repeat(np.array(colours, np.uint8), 3).tobytes()
        folder = tmp_path / str(len(colours)) / "v" / "e"
        folder.mkdir(parents=True)
        drawn = [*LARGE[:2], np.zeros(SIZE, bool), np.ones(SIZE, bool)]
        for number, mask in enumerate(drawn):
            image = Image.fromarray(np.where(mask, 0, len(colours) - 1).astype(np.uint8), "P")
            image.putpalette(palette)
            image.save(folder / f"{number:05}.png")
        masks = read_predictions(str(folder.parents[1]))
        assert isinstance(masks, TreeMasks)
        counts = masks.annotations()[0]["counts"].to_pylist()
        read = [np.zeros(SIZE, bool) if one is None else rle.decode(one, *SIZE) for one in counts]
        np.testing.assert_array_equal(read, drawn)


LABELS = [np.where(large, 1, np.where(small, 2, 0)).astype(np.uint8) for large, small in zip(LARGE, SMALL, strict=True)]


@pytest.mark.parametrize(
    ("form", "path", "message"),
    [
        ("JPEG of two grays", "v", "are no object ids: interpolated, or from a lossy codec; save the masks as PNG"),
        ("JPEG of two grays", "v/e", "do not say where the object begins; save the object as 255"),
        ("JPEG of the palette's gray", "v", "only specks and edges, such as 1, are no object ids"),
        ("interpolated", "v", "only specks and edges"),
        ("a gradient", "v", "only specks and edges"),
        ("a gradient", "v/e", "do not say where the object begins"),
        ("noise", "v", "are no object ids"),
        ("noise", "v/e", "do not say where the object begins"),
        ("labels without a 0", "v/e", "do not say where the object begins"),
        ("three grays", "v/e", "do not say where the object begins"),
    ],
)
def test_what_the_values_do_not_tell_is_refused(tmp_path, form, path, message):
    draws: dict[str, Draw] = {
        "JPEG of two grays": lambda labels: lossy(np.array([0, 127, 255], np.uint8)[labels], "JPEG", 75),
        "JPEG of the palette's gray": lambda labels: lossy(np.array([0, 38, 75], np.uint8)[labels], "JPEG", 75),
        "interpolated": lambda labels: softened(np.array([0, 5, 9], np.uint8)[labels]),
        "a gradient": lambda labels: np.broadcast_to((X * 2).astype(np.uint8), labels.shape),
        "noise": lambda labels: RNG.integers(0, 256, labels.shape).astype(np.uint8),
        "labels without a 0": lambda labels: labels + np.uint8(1),
        "three grays": lambda labels: np.array([0, 100, 200], np.uint8)[labels],
    }
    with pytest.raises(InputError, match=message):
        tree(tmp_path, draws[form], path, LABELS)


def test_small_values_below_255_are_ids_if_they_are_areas_and_noise_if_they_are_specks(tmp_path):
    ids = [np.array([0, 1, 255], np.uint8)[labels] for labels in LABELS]
    masks = tree(tmp_path / "ids", lambda mask: ids[0], "v/e", LARGE[:1])
    assert masks.annotations()[0]["counts"].to_pylist() == [rle.encode((ids[0] > 0)[None])[0]]
    dots = np.where((X % 3 == 0) & (Y % 3 == 0), 1, 0).astype(np.uint8)
    assert overlaps(tree(tmp_path / "noise", lambda mask: np.where(mask, np.uint8(255), dots), "v/e")) == [1.0] * 4


def test_the_folder_with_most_values_is_named(tmp_path):
    noise = RNG.integers(0, 256, SIZE).astype(np.uint8)
    folder = write_tree(tmp_path, {"a/0.png": LABELS[0], "b/0.png": noise})
    with pytest.raises(InputError, match=f"^{folder}/b: "):
        read_predictions(folder)


def test_ids_stay_ids(tmp_path):
    """Two objects with a soft look: 100 and 200 in crisp areas; thin ones; many small ones."""
    draws: list[tuple[Draw, set[str]]] = [
        (lambda labels: np.array([0, 100, 200], np.uint8)[labels], {"100", "200"}),
        (lambda labels: np.where(X == 5, 3, labels).astype(np.uint8), {"1", "2", "3"}),
        (lambda labels: (X // 8 + 16 * (Y // 8)).astype(np.uint8), {*map(str, range(1, 192))}),
    ]
    for number, (draw, ids) in enumerate(draws):
        assert tree(tmp_path / str(number), draw, "v", LABELS).keys_by_video()["v"] == ids


def test_one_reading_for_the_whole_tree(tmp_path):
    """A frame whose values alone say something else is cut where the tree is."""
    dim = np.where(disc(40, 48, 6), 100, 10).astype(np.uint8)
    images = {f"v/e/{n:05}.png": ONE_OBJECT["JPEG 75"](mask) for n, mask in enumerate(LARGE)}
    masks = read_predictions(write_tree(tmp_path, {**images, "v/e/00004.png": dim}))
    assert isinstance(masks, TreeMasks)
    assert masks.annotations()[0]["counts"].to_pylist()[4] == rle.empty(*SIZE)


@pytest.mark.parametrize(
    ("pixels", "least"),
    [
        ({0: 900, 255: 100}, 128),
        ({0: 900, 3: 50, 250: 40, 255: 100}, 128),
        ({20: 900, 220: 100}, 120),
        ({0: 9, 60: 9, 200: 9}, None),
        ({1: 900, 2: 100}, None),
        ({300: 900, 60000: 10}, 30150),
        ({300: 900, 65000: 10}, 32768),
        ({0: 10**6, 12: 10**5, 240: 3, 255: 1}, 128),  # a small object
    ],
)
def test_where_the_object_begins(pixels, least):
    found = object_cut(pixels, {})
    assert (found and found.least) == least


def test_evaluate_and_import_read_gray_alike(shapes, labelled_run, tmp_path):
    """Both commands take the object of 20 and 220; label maps of one object as well."""
    rows = masks_of_run(labelled_run.folder).to_pylist()
    for row in rows:
        mask = rle.decode(row["counts"], row["height"], row["width"])
        name = f"{row['video_id']}/{row['expression_id']}/{row['frame_name']}.png"
        write_tree(tmp_path / "gray", {name: two(20, 220)(mask)})
    config = ImportConfig(dataset="masks", root=str(tmp_path / "gray"), manifest=shapes[0], out=str(tmp_path / "run"))
    result = import_masks.run(config)
    assert (result.failed, "values 20 and 220, foreground from 120 on" in result.meaning) == ({}, True)
    assert masks_of_run(str(tmp_path / "run"))["counts"].to_pylist() == [row["counts"] for row in rows]
    scores = [
        evaluate.run(
            evaluate.EvaluateConfig(
                predictions=one, annotations=shapes[1], out=str(tmp_path / name), protocol="mevis", manifest=shapes[0]
            )
        ).summary["overall"]["J&F"]
        for name, one in (("a", str(tmp_path / "gray")), ("b", labelled_run.folder))
    ]
    assert scores[0] == scores[1]


def test_jpegs_are_refused_with_the_reason(tmp_path):
    for path in ("v", "v/e"):
        folder = tmp_path / path.replace("/", "") / path
        folder.mkdir(parents=True)
        Image.fromarray(LABELS[0]).save(folder / "00000.png", "JPEG")
        with pytest.raises(InputError, match="it is a JPEG, .* named .png; save all masks as PNG"):
            read_predictions(str(tmp_path / path.replace("/", "")))


def test_label_maps_among_soft_masks_keep_their_ids(tmp_path):
    soft = {f"b/{n}.png": softened(two(0, 255)(mask)) for n, mask in enumerate(LARGE)}
    masks = read_predictions(write_tree(tmp_path, {"a/0.png": LABELS[0], **soft}))
    assert isinstance(masks, TreeMasks)
    assert masks.keys_by_video() == {"a": {"1", "2"}, "b": {"1"}}
    rows = [row for row in masks.annotations()[0].to_pylist() if row["video_id"] == "a"]
    assert [row["counts"] for row in rows] == [rle.encode((LABELS[0] == n)[None])[0] for n in (1, 2)]
