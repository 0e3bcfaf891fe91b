"""The chain for one unit outside of a run."""

import tempfile
from contextlib import closing

from model.segmenter import Segmenter
from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.commit import Receipt
from pipeline.segment.chain import segment_jobs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob


def segment_unit(job: UnitJob, segmenter: Segmenter, options: FrameOptions) -> Receipt:
    """Segment and commit one unit. Returns its receipt."""
    with tempfile.TemporaryDirectory(prefix="rvos-") as folder:
        tracker = AttemptTracker(folder, invocation="", node="", is_alive=lambda node: True)
        with closing(segment_jobs([job], segmenter, options, tracker)) as receipts:
            receipt = next(receipts)
            assert isinstance(receipt, Receipt)
            return receipt
