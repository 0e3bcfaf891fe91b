"""`rvos refine` with real weights, where RVOS_SAM2 or RVOS_SAM3 names a folder as the hub gives it."""

import os
from pathlib import Path

import pytest

from jobs import refine, select
from jobs.config.refine import RefineConfig
from jobs.config.select import SelectConfig
from pipeline.io import storage
from tests.reference import ABSENT, named_folder

LEAST_AGREEMENT = 0.7  # with exact masks of plain shapes, which a tracker that works keeps


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("variable", ["RVOS_SAM2", "RVOS_SAM3"])
def test_exact_masks_stay_what_they_are(variable, labelled_run, ray_session, tmp_path):
    if not os.environ.get(variable):
        pytest.skip(f"{ABSENT}: {variable} names no folder of real weights")
    out, checkpoint = str(tmp_path / "refined"), str(named_folder(variable, Path()))
    result = refine.run(RefineConfig(run=labelled_run.folder, out=out, checkpoint=checkpoint), lambda _: None)
    assert (result.pairs, result.failed) == (9, {})
    select.run(SelectConfig(run=out, against=(labelled_run.folder,), out=str(tmp_path / "selected")))
    found = storage.read_table(str(tmp_path / "selected/pairs.parquet"))["other_run"].to_pylist()
    assert sum(found) / len(found) >= LEAST_AGREEMENT
