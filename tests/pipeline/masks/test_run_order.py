"""Masks whose runs were counted along rows are found; sound masks of any form never are."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from cli import main
from pipeline.masks.run_order import RunOrder
from schemas import rle


def along_rows(mask: np.ndarray) -> bytes:
    """Return the string of a mask whose runs are counted along rows, the usual mistake."""
    height, width = mask.shape
    return rle.encode(np.ascontiguousarray(mask).reshape(width, height).T[None])[0]


def drawn(width: int, height: int, draw) -> np.ndarray:
    image = Image.new("1", (width, height))
    draw(ImageDraw.Draw(image))
    return np.array(image, bool)


def order_of(masks, encode) -> RunOrder:
    order = RunOrder()
    for mask in masks:
        height, width = mask.shape
        order.add(encode(mask), height, width, "a mask")
    return order


def blobs(width: int = 96, height: int = 64) -> list[np.ndarray]:
    return [drawn(width, height, lambda draw, x=x: draw.ellipse((x, 12, x + 26, 40), fill=1)) for x in range(0, 60, 6)]


SOUND = {
    "empty": np.zeros((48, 80), bool),
    "full": np.ones((48, 80), bool),
    "one pixel": np.arange(48 * 80).reshape(48, 80) == 2017,
    "one row": np.ones((1, 80), bool),
    "one column": np.arange(80)[:, None] > 30,
    "square": drawn(64, 64, lambda draw: draw.ellipse((5, 30, 40, 50), fill=1)),
    "pole": drawn(90, 160, lambda draw: draw.line((40, 0, 40, 160), fill=1)),
    "pole in a narrow frame": drawn(20, 400, lambda draw: draw.line((7, 0, 7, 400), fill=1)),
    "wire": drawn(160, 90, lambda draw: draw.line((0, 40, 160, 40), fill=1)),
    "diagonal": drawn(160, 90, lambda draw: draw.line((0, 0, 160, 90), fill=1)),
    "diagonal of a near square": np.eye(100, 101, dtype=bool),
    "thick diagonal of a near square": drawn(104, 100, lambda draw: draw.line((0, 0, 104, 100), fill=1, width=6)),
    "ring": drawn(160, 90, lambda draw: draw.ellipse((20, 10, 120, 80), outline=1)),
    "comb": np.broadcast_to(np.arange(128) % 2 == 0, (64, 128)),
    "noise": np.random.default_rng(0).random((90, 160)) < 0.3,
    "left half": np.broadcast_to(np.arange(128) < 64, (64, 128)),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_masks_are_never_refused(name):
    assert order_of([SOUND[name]], lambda mask: rle.encode(mask[None])[0]).problem() is None


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (128, 64), (854, 480)])
def test_blobs_along_rows_are_found(size):
    masks = blobs(*size)
    assert order_of(masks, lambda mask: rle.encode(mask[None])[0]).problem() is None
    found = order_of(masks, along_rows)
    assert (found.rows, found.columns) == (len(masks), 0)
    assert str([0, 12, 27, 29]) in (found.problem() or "")


def test_masks_of_real_videos(shared):
    paths = sorted((shared / "data/real/Annotations").glob("*/*.png"))[::8]
    pictures = [np.array(Image.open(path)) for path in paths]
    masks = [labels == label for labels in pictures for label in np.unique(labels)[1:]]
    assert order_of(masks, lambda mask: rle.encode(mask[None])[0]).rows == 0
    assert order_of(masks, along_rows).rows == len(masks) > 10


@pytest.mark.parametrize("side", ["predictions", "annotations"])
@pytest.mark.parametrize("square", [False, True])
def test_evaluate_refuses_them_unless_forced(tmp_path, side, square):
    masks = blobs(64, 64) if square else blobs()
    common = {"video_id": "v", "height": 64, "width": masks[0].shape[1]}
    paths = {}
    for name, key in (("predictions", "expression_id"), ("annotations", "object_id")):
        encode = along_rows if name == side else (lambda mask: rle.encode(mask[None])[0])
        rows = [{**common, key: "1", "frame_index": n, "counts": encode(mask)} for n, mask in enumerate(masks)]
        for n, row in enumerate(rows if square else []):
            row["bbox"] = [6 * n, 12, 27, 29]  # says which reading is right where the form of the mask cannot
        paths[name] = str(tmp_path / f"{name}.parquet")
        pq.write_table(pa.Table.from_pylist(rows), paths[name])
    manifest = {"video_id": "v", "video_uri": "v.mp4", "expression_id": "1", "expression": "it", "object_ids": ["1"]}
    pq.write_table(pa.Table.from_pylist([manifest]), tmp_path / "manifest.parquet")
    command = ["evaluate", paths["predictions"], paths["annotations"], "--out", str(tmp_path / "out")]
    command += ["--manifest", str(tmp_path / "manifest.parquet")]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert f"{paths[side]}: " in refused.output
    assert " masks look as if" in refused.output
    assert "--force" in refused.output
    forced = CliRunner().invoke(main, [*command, "--force", "--json"])
    assert forced.exit_code == 0, forced.output
    assert any(paths[side] in note for note in json.loads(forced.stdout)["warnings"])


def test_import_refuses_them_unless_forced(tmp_path):
    masks = blobs()
    runs = [{"size": [64, 96], "counts": along_rows(mask).decode()} for mask in masks]
    files = [f"v/{n:05}.jpg" for n in range(len(masks))]
    video = {"id": 1, "height": 64, "width": 96, "file_names": files, "expressions": ["the disc"]}
    entry = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": runs}
    content = {"videos": [video], "annotations": [entry], "categories": [{"id": 1, "name": "disc"}]}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    command = ["import", "coco-video", str(path), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "10 of 10 masks" in refused.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    forced = CliRunner().invoke(main, [*command, "--force"])
    assert forced.exit_code == 0, forced.output
    assert "warning: " in forced.output


def test_export_refuses_them(tmp_path):
    rows = [
        {"video_id": "v", "expression_id": "1", "frame_index": n, "height": 64, "width": 96, "counts": along_rows(mask)}
        for n, mask in enumerate(blobs())
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    command = ["export", "coco-video", str(tmp_path / "p.parquet"), "--out", str(tmp_path / "out.json")]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "along rows" in refused.output
