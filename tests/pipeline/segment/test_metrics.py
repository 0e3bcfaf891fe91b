"""The counters of actors, as Prometheus scrapes them from the local session."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline.runs.commit import Receipt
from pipeline.segment.metrics import COUNTERS
from tests.segmented import run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
LINE = re.compile(r"ray_(rvos_\w+)_total\{(.*)\} ([0-9.e+]+)")


def scraped(name: str) -> dict[tuple[str, str], float]:
    """Return the counters of a run, by name and status."""
    import ray

    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = filter(None, map(LINE.match, answer.read().decode().splitlines()))
    found: dict[tuple[str, str], float] = {}
    for line in lines:
        tags = dict(re.findall(r'(\w+)="([^"]*)"', line[2]))
        if tags["run"] == name:
            key = line[1], tags.get("status", "")
            found[key] = found.get(key, 0.0) + float(line[3])
    return found


def test_what_prometheus_sees_of_a_run(shapes, checkpoint, tmp_path):
    import pyarrow.parquet as pq

    rows = pq.read_table(shapes[0])
    sentences = rows["expression"].to_pylist()
    sentences[0] = ""
    manifest = str(tmp_path / "m.parquet")
    videos = [f"{shapes[0].rpartition('/')[0]}/{uri}" for uri in rows["video_uri"].to_pylist()]
    for name, values in {"expression": sentences, "video_uri": videos}.items():
        rows = rows.set_column(rows.column_names.index(name), name, [values])
    pq.write_table(rows, manifest)
    run(manifest, tmp_path / "scraped-run", checkpoint)
    deadline = time.monotonic() + 120  # Ray exports every few seconds
    while (found := scraped("scraped-run")).get(("rvos_pairs", "")) != 9 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found.pop(("rvos_decode_wait_seconds", "")) > 0
    assert found == {("rvos_pairs", ""): 9, ("rvos_failed_pairs", "bad_row"): 1, ("rvos_frames", ""): 8 * 12}


def test_rows_that_were_copied_are_not_counted_again(monkeypatch):
    from pipeline.segment import metrics

    counted = []
    kept = Receipt("u", "f", pairs=5, frames=40, failed={"oom": 1}, kept_pairs=4, kept_frames=40)
    actor = metrics.ActorMetrics("r")
    monkeypatch.setattr(
        metrics.Counter, "inc", lambda counter, value, tags: counted.append((counter._name, value, tags))
    )
    actor.add(kept)
    assert counted == [
        ("rvos_pairs", 1, {"run": "r"}),
        ("rvos_failed_pairs", 1, {"run": "r", "status": "oom"}),
    ]


def test_the_docs_and_the_board_name_the_metrics_that_exist():
    docs = Path(__file__).resolve().parents[3] / "docs"
    exported = {f"ray_{name}_total" for name in COUNTERS}
    assert set(re.findall(r"ray_rvos_\w+", (docs / "clusters.md").read_text())) == exported
    board = json.loads((docs / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert {name for query in queries for name in re.findall(r"ray_rvos_\w+", query)} == exported
