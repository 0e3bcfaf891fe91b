"""`rvos refine` and `rvos segment` with real weights, where RVOS_SAM2 or RVOS_SAM3 names a folder of the hub."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch

from jobs import audit, refine, segment, select
from jobs.config.refine import RefineConfig
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from pipeline.io import parquet
from pipeline.io.manifest import load_manifest
from pipeline.video import Selection, read_frames
from schemas import rle
from tests.published_concepts import published, union
from tests.reference import ABSENT, named_folder
from tests.segmented import masks

LEAST_COVERED = 0.5  # of the pixels of the objects that the sentences mean
LEAST_AGREEMENT = 0.7  # with exact masks of plain shapes, which a tracker that works keeps


pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def weights(variable: str) -> str:
    """The folder that an environment variable names. Skips the test without one."""
    if not os.environ.get(variable):
        pytest.skip(f"{ABSENT}: {variable} names no folder of real weights")
    return str(named_folder(variable, Path()))


@pytest.mark.parametrize("variable", ["RVOS_SAM2", "RVOS_SAM3"])
def test_exact_masks_stay_what_they_are(variable, labelled_run, tmp_path):
    checkpoint, out = weights(variable), str(tmp_path / "refined")
    result = refine.run(RefineConfig(run=labelled_run.folder, out=out, checkpoint=checkpoint), lambda _: None)
    assert (result.pairs, result.failed) == (9, {})
    select.run(SelectConfig(run=out, against=(labelled_run.folder,), out=str(tmp_path / "selected")))
    found = parquet.read_table(str(tmp_path / "selected/pairs.parquet"))["other_run"].to_pylist()
    assert sum(found) / len(found) >= LEAST_AGREEMENT


def test_phrases_mark_every_thing_that_they_name(shapes, labelled_run, tmp_path):
    """Sentences of the shapes mean one object; SAM 3 marks that one, and maybe others of its kind."""
    config = SegmentConfig(manifest=shapes[0], run=str(tmp_path / "run"), checkpoint=weights("RVOS_SAM3"))
    result = segment.run(config, lambda _: None)
    assert (result.pairs, result.frames, result.failed) == (9, 108, {})
    assert audit.run(audit.AuditConfig(run=config.run, manifest=shapes[0])).exit_code == 0
    found, truth = masks(config.run), masks(labelled_run.folder)
    covered = [
        (mask & wanted).sum() / wanted.sum()
        for mask, wanted in zip(decoded(found), decoded(truth), strict=True)
        if wanted.any()
    ]
    assert sum(covered) / len(covered) >= LEAST_COVERED


def test_published_loop_has_the_same_masks(shapes, tmp_path):
    checkpoint, row = weights("RVOS_SAM3"), load_manifest(shapes[0], allow_local=True).slice(0, 1).to_pylist()[0]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "one.parquet")
    config = SegmentConfig(
        manifest=str(tmp_path / "one.parquet"),
        run=str(tmp_path / "run"),
        checkpoint=checkpoint,
        device="cpu",
        actors="1",
    )
    assert segment.run(config, lambda _: None).failed == {}
    torch.set_num_threads(int(ray.cluster_resources()["CPU"]))
    frames = np.stack([frame.image for frame in read_frames(row["video_uri"], Selection())])
    assert np.array_equal(decoded(masks(config.run)), union(published(checkpoint, frames, row["expression"])[0]))


def decoded(table: pa.Table) -> np.ndarray:
    """Masks of a table, bool [rows, H, W]."""
    return np.stack([rle.decode(row["counts"], row["height"], row["width"]) for row in table.to_pylist()]).astype(bool)
