"""Videos that kill or hang the process that decodes them: each costs its own pair only."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit
from pipeline.io import parquet
from tests.chaos.case import Case

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_deadly_and_hanging_videos_cost_their_own_pair_only(corpus, cluster, undisturbed, tmp_path):
    """All in one unit, so that the good video is hit too: by 4 deaths and 2 timeouts."""
    source = parquet.read_table(corpus.manifest).to_pylist()[0]
    video = Path(corpus.manifest).parent / source["video_uri"]
    names = ("deadly", "good", "hanging")
    for name in names:
        shutil.copy(video, tmp_path / f"{name}.mp4")
    rows = [
        {"video_id": name, "video_uri": f"{name}.mp4", "expression_id": id, "expression": text, "num_frames": 1}
        for name in names
        for id, text in _expressions(corpus, source["video_id"])[: 3 if name == "good" else 1]
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    case = Case(str(tmp_path / "m.parquet"), corpus.checkpoint, str(tmp_path / "run"), cluster.address)
    case.finish("--unit-timeout", "15", code=1)
    assert audit.run(audit.AuditConfig(run=case.run, manifest=case.manifest)).exit_code == 0
    found = case.rows()
    failed = {row["video_id"]: row["status"] for row in found.to_pylist() if row["status"] != "ok"}
    assert failed == {"deadly": "crash", "hanging": "timeout"}
    good = found.filter(pa.compute.field("video_id") == "good").drop_columns("video_id")
    like = undisturbed.filter(pa.compute.field("video_id") == source["video_id"]).drop_columns("video_id")
    assert good.equals(like)
    print(f"\nsurvived a deadly and a hanging video: {good.num_rows} good rows, 2 error rows")


def _expressions(corpus: Case, video_id: str) -> list[tuple[str, str]]:
    rows = parquet.read_table(corpus.manifest).to_pylist()
    return [(row["expression_id"], row["expression"]) for row in rows if row["video_id"] == video_id]
