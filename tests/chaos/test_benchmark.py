"""SIGKILL of `rvos benchmark` in the middle of two of its steps: the same command gives the same tables."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from jobs.config.evaluate import EvaluateConfig
from jobs.config.segment import SegmentConfig
from jobs.segment_options import frame_options, model_options
from pipeline.datasets.a2d import COCO
from pipeline.drawing.write_video import write_mp4
from pipeline.io.manifest import read_manifest
from pipeline.segment.events import UnitJob
from schemas import rle
from tests.chaos.case import ORDER, ROOT, end_of, environment, wait_until
from tests.one_unit import segment_unit

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

VIDEOS, INSTANCES, ANNOTATED, SIDE = 3, 3, (1, 3, 5, 7, 9), 64
SECONDS_PER_SAMPLE = "0.1"


@pytest.fixture
def root(tmp_path) -> Path:
    """A2D-Sentences: 15 samples of each video, which are one unit."""
    folder, rng, annotations = tmp_path / "a2d", np.random.default_rng(3), []
    (folder / "Release/clips320H").mkdir(parents=True)
    (folder / "text_annotations").mkdir()
    names = [f"clip{number}" for number in range(VIDEOS)]
    for name in names:
        frames = rng.integers(0, 255, (10, SIDE, SIDE, 3), np.uint8)
        write_mp4(str(folder / f"Release/clips320H/{name}.mp4"), tuple(frames), fps=10)
        for frame, instance in ((frame, instance) for frame in ANNOTATED for instance in range(INSTANCES)):
            mask = rng.random((1, SIDE // 8, SIDE // 8)).repeat(8, 1).repeat(8, 2) < 0.5
            segmentation = {"size": [SIDE, SIDE], "counts": rle.encode(mask)[0].decode()}
            place = {"image_id": f"v_{name}_f_{frame}_i_{instance}", "category_id": 1}
            annotations.append({"id": len(annotations) + 1, **place, "segmentation": segmentation})
    sentences = [f"{name},{instance},the {instance}. one\n" for name in names for instance in range(INSTANCES)]
    (folder / "text_annotations/a2d_annotation.txt").write_text("video_id,instance_id,query\n" + "".join(sentences))
    (folder / "text_annotations/a2d_missed_videos.txt").write_text("")
    rows = [f"{name},21,00:01,00:02,{SIDE},{SIDE},10,5,1\n" for name in names]
    (folder / "Release/videoset.csv").write_text("".join(rows))
    content = {"categories": [{"id": 1, "name": "dummy_class"}], "images": [], "annotations": annotations}
    (folder / COCO).write_text(json.dumps(content))
    return folder


def start(root: Path, out: Path, checkpoint: str, address: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "cli", "benchmark", "a2d", str(root), "--checkpoint", checkpoint]
    return subprocess.Popen(
        [*command, "--out", str(out), "--short-side", "32", "--address", address],
        env=environment(CHAOS_SECONDS_PER_VIDEO=SECONDS_PER_SAMPLE),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(driver: subprocess.Popen) -> Iterator[str]:
    assert driver.stderr
    return iter(driver.stderr.readline, "")


def kill(driver: subprocess.Popen) -> None:
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert driver.returncode == -signal.SIGKILL, "the command ended before the kill"


def masks(uris: Iterable[Path]) -> pa.Table:
    columns = ["video_id", "expression_id", "frame_index", "query", "chosen", "counts"]
    return pa.concat_tables(pq.read_table(uri, columns=columns) for uri in uris).sort_by(
        [*ORDER, ("query", "ascending")]
    )


def undisturbed_masks(manifest: str, checkpoint: str, uri: Path) -> pa.Table:
    config = SegmentConfig(manifest=manifest, run="", checkpoint=checkpoint, rules="a2d", short_side=32)
    unit = UnitJob(unit_id="0", fingerprint="", uri=str(uri), rows=read_manifest(manifest).to_pylist())
    segment_unit(unit, model_options(config, 1).load(), frame_options(config))
    return masks([uri])


def test_a_benchmark_that_is_killed_in_two_steps(root, checkpoint, cluster, tmp_path):
    out, arguments = tmp_path / "out", (checkpoint, cluster.address)
    units = out / "run/masks"
    driver = start(root, out, *arguments)
    wait_until(lambda: units.is_dir() and bool(list(units.iterdir())), driver)
    kill(driver)
    kept = {path: path.stat().st_mtime_ns for path in units.iterdir()}
    assert 0 < len(kept) < VIDEOS, "not in the middle of segment"
    driver = start(root, out, *arguments)
    assert any(line.startswith("$ rvos evaluate") for line in lines(driver))
    kill(driver)
    assert not (out / "report/report.html").exists()
    end_of(start(root, out, *arguments))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found = masks(units.iterdir())
    assert found.num_rows == VIDEOS * INSTANCES * len(ANNOTATED) * 5
    assert found == undisturbed_masks(str(out / "data/manifest.parquet"), checkpoint, tmp_path / "unit.parquet")
    options = {"predictions": str(out / "run"), "annotations": str(out / "data/annotations.parquet")}
    again = evaluate.run(EvaluateConfig(**options, protocol="a2d", out=str(tmp_path / "scores"))).summary
    assert json.loads((out / "scores/summary.json").read_text()) == again | {"out": str(out / "scores")}
    for name in ("scores.parquet", "frame_scores.parquet"):
        assert pq.read_table(out / "scores" / name) == pq.read_table(tmp_path / "scores" / name)
    assert (out / "report/report.html").is_file()
