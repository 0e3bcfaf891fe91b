"""The counters of actors, as Prometheus scrapes them from the local session."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline.runs.commit import Receipt
from pipeline.segment.metrics import COUNTERS, ActorMetrics

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


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_what_prometheus_sees_of_an_actor():
    """Ray exports every few seconds, from processes that live."""
    import ray

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            self.metrics = ActorMetrics("scraped run")

        def add(self):
            for failed in ({}, {"oom": 1}, {"oom": 2, "crash": 1}):
                receipt = Receipt("u", "f", pairs=4, frames=30, failed=failed)
                receipt.seconds["waiting"] = 0.5
                self.metrics.add(receipt)

    actor = Actor.remote()
    ray.get(actor.add.remote())
    expected = {("rvos_pairs", ""): 12, ("rvos_frames", ""): 90, ("rvos_decode_wait_seconds", ""): 1.5}
    expected |= {("rvos_failed_pairs", "oom"): 3, ("rvos_failed_pairs", "crash"): 1}
    deadline = time.monotonic() + 120
    while (found := scraped("scraped run")) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    ray.kill(actor)
    assert found == expected


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
