"""A checkpoint folder leads to its family; a new family is one module and one line."""

import json
import subprocess
import sys
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model import families
from model.bundled import FOLDER
from model.errors import CheckpointError
from model.families import FAMILIES, check_checkpoint, load_segmenter
from model.segmenter import CheckpointInfo, Segmentation, SegmenterStats
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from schemas import rle
from tests.one_unit import segment_unit


class Brightness:
    """A family without weights: the object is every pixel brighter than the threshold."""

    max_tokens = 3
    lookahead = None

    def __init__(self, threshold: float):
        self.threshold = threshold

    def count_tokens(self, expression):
        return len(expression.split())

    def prepare(self, frame):
        return frame

    def segment(self, frames, size, expressions, keep=None, overlap=None):
        if overlap is not None:
            raise ValueError("this family cannot follow objects across windows")
        kept = range(len(frames)) if keep is None else keep
        masks = np.stack([frames[i].mean(-1) > 255 * self.threshold for i in kept])
        boxes = np.zeros((len(kept), 4), np.float32)
        for _ in expressions:
            yield Segmentation(masks, np.ones(len(kept), np.float32), boxes, query=0, margin=None, finite=True)

    def stats(self):
        return SegmenterStats()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint folder of that family, which is registered by one line."""
    module = ModuleType("brightness_family")
    module.load_segmenter = lambda folder, *, threshold, **_: Brightness(threshold)
    module.check_checkpoint = lambda folder: CheckpointInfo(
        family="brightness",
        digest="none",
        short_side=8,
        max_tokens=3,
        count_tokens=lambda expression: len(expression.split()),
        resize=lambda frame, short_side, max_size: frame,
        supports_overlap=False,
    )
    monkeypatch.setitem(sys.modules, "brightness_family", module)
    monkeypatch.setitem(FAMILIES, "brightness", "brightness_family")
    (tmp_path / "config.json").write_text('{"model_type": "brightness"}')
    return tmp_path


def test_a_second_family_goes_through_the_pipeline(folder):
    frames = np.zeros((3, 6, 8, 3), np.uint8)
    frames[:, :2] = 255
    (folder / "video").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "video" / f"{number:05}.png")
    row = {"video_id": "v", "video_uri": str(folder / "video"), "expression_id": "0", "expression": "the sky"}
    rows = [row, row | {"expression_id": "1", "expression": "more words than it takes"}]
    uri = str(folder / "u.parquet")
    job = UnitJob(unit_id="u", fingerprint="f", uri=uri, rows=rows)
    receipt = segment_unit(job, load_segmenter(folder), FrameOptions(window=2))
    assert (receipt.pairs, receipt.frames, receipt.failed) == (2, 3, {"bad_row": 1})
    *masks, error = pq.read_table(uri).sort_by([("expression_id", "ascending")]).to_pylist()
    assert [rle.decode(mask["counts"], 6, 8).sum() for mask in masks] == [16, 16, 16]
    assert "has 5 tokens, at most 3 fit" in error["error"]


def test_a_run_refuses_an_overlap_that_the_family_does_not_support(folder):
    from jobs.segment import SegmentConfig, check_model
    from schemas.errors import InputError

    config = SegmentConfig(manifest="m", run="r", checkpoint=str(folder), overlap=8)
    with pytest.raises(InputError, match="--overlap: a brightness model cannot follow objects"):
        check_model(config)


def test_folders_without_a_model_type_are_referformer(tmp_path):
    (tmp_path / "config.json").write_text((FOLDER / "config.json").read_text())
    assert families._module(tmp_path, FAMILIES).__name__ == "model.referformer.family"
    (tmp_path / "config.json").write_text('{"model_type": "referformer"}')
    assert families._module(tmp_path, FAMILIES).__name__ == "model.referformer.family"


@pytest.mark.parametrize("name", ["sam9", 3, None, ["referformer"]])
def test_an_unknown_model_type_is_named_with_the_known_ones(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name}))
    for use in (load_segmenter, check_checkpoint):
        with pytest.raises(CheckpointError, match=r"unknown model_type .*; choose from referformer") as error:
            use(tmp_path)
        assert repr(name) in str(error.value)


def test_the_registry_and_the_interface_import_no_torch():
    code = "import sys, model.families, model.segmenter; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
