"""Masks of the bundled checkpoint, to the last pixel: whoever changes them raises MASKS_VERSION."""

import hashlib
import json

import pyarrow as pa
import pytest
import torch
from PIL import Image

from model.bundled import FOLDER
from model.families import load_segmenter
from pipeline.io import parquet
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from schemas.version import MASKS_VERSION
from tests.moving_shapes import MovingScene
from tests.one_unit import segment_unit

FRAMES = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    """A folder of PNGs: two shapes that move, 96 x 128."""
    import numpy as np

    folder = tmp_path_factory.mktemp("clip")
    scene = MovingScene.random(np.random.default_rng(5), 96, 128, 2)
    for index in range(FRAMES):
        Image.fromarray(scene.render(index)[0]).save(folder / f"{index:05}.png")
    return str(folder)


def test_the_masks_of_the_bundled_checkpoint_belong_to_their_version(clip, tmp_path, golden):
    threads, digest = torch.get_num_threads(), hashlib.sha256()
    torch.set_num_threads(1)
    try:
        segmenter = load_segmenter(FOLDER, device="cpu")
        for name, options in (("plain", FrameOptions(window=5)), ("linked", FrameOptions(window=5, overlap=2))):
            rows = [
                {"video_id": "v", "video_uri": clip, "expression_id": str(i), "expression": text}
                for i, text in enumerate(("the red circle", "the thing that moves left"))
            ]
            uri = str(tmp_path / f"{name}.parquet")
            segment_unit(UnitJob(unit_id="u", fingerprint="f", uri=uri, rows=rows), segmenter, options)
            masks: pa.Table = parquet.read_table(uri, ["expression_id", "frame_index", "counts"])
            assert masks.num_rows == 2 * FRAMES
            for row in masks.to_pylist():
                digest.update(repr(tuple(row.values())).encode())
    finally:
        torch.set_num_threads(threads)
    stored = json.loads((golden / "masks.json").read_text())
    found = {"masks_version": MASKS_VERSION, "sha256": digest.hexdigest()}
    assert found == stored, "masks have changed: raise MASKS_VERSION, and note it in CHANGELOG.md"
