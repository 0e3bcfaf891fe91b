"""A fake segmenter, which fails on demand as real ones do not; tests/jobs/test_segment.py runs a real one."""

import numpy as np
import pyarrow.parquet as pq
import torch

from model.segmenter import Segmentation, SegmenterStats
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from tests.one_unit import segment_unit


def unit_job(uri, rows, **options) -> UnitJob:
    return UnitJob(unit_id="u", fingerprint="f", uri=uri, rows=rows, **options)


class FakeSegmenter:
    """Marks the left half of every frame. The expression selects how to fail; a track names its window."""

    max_tokens = 512
    lookahead = None

    def __init__(self):
        self.calls, self.overlaps = [], []
        self.unit_stats = []  # stats, or an error, of each unit in turn

    def stats(self):
        stats = self.unit_stats.pop(0) if self.unit_stats else SegmenterStats()
        if isinstance(stats, Exception):
            raise stats
        return stats

    def prepare(self, frame):
        return frame[::2, ::2]

    def count_tokens(self, expression):
        return len(expression.split()) + 2

    def segment(self, frames, size, expressions, keep=None, overlap=None):
        self.calls.append((len(frames), list(expressions), keep))
        self.overlaps.append(overlap)
        kept = range(len(frames)) if keep is None else keep
        count = len(kept) if overlap is None else sum(overlap.start + i < overlap.final for i in kept)
        for expression in expressions:
            if expression == "out of memory":
                raise torch.OutOfMemoryError("no memory left\nmore text")
            if expression == "needs much memory" and len(frames) > 1:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            if expression == "defect":
                raise RuntimeError("shapes do not fit")
            masks = np.zeros((count, *size), bool)
            masks[:, :, : size[1] // 2] = True
            yield Segmentation(
                masks=masks,
                scores=np.linspace(0.2, 0.4, count, dtype=np.float32),
                boxes=np.tile(np.array([0, 0, size[1] / 2, size[0]], np.float32), (count, 1)),
                query=3,
                margin=0.25,
                finite=expression != "nan" and (expression != "nan later" or overlap.start == 0),
                track=None if overlap is None else f"{expression} from {overlap.start}",
            )


def segment(tmp_path, video, expressions, options=None, **columns):
    rows = [
        {"video_id": "v", "video_uri": video, "expression_id": str(i), "expression": text} | columns
        for i, text in enumerate(expressions)
    ]
    segmenter = FakeSegmenter()
    uri = str(tmp_path / "u.parquet")
    receipt = segment_unit(unit_job(uri, rows), segmenter, options or FrameOptions(window=3))
    return pq.read_table(uri), receipt, segmenter
