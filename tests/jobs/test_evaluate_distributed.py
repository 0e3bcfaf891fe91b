"""The same numbers, to the last bit, in this process, on two workers, and on a cluster of three nodes."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import evaluate
from jobs.evaluate import EvaluateConfig
from schemas.errors import InputError

THREE_NODES = """
import os, sys
os.environ["RAY_AUTH_MODE"] = "disabled"
from ray.cluster_utils import Cluster
from jobs.evaluate import EvaluateConfig, run

if __name__ == "__main__":
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    del node["include_dashboard"]
    for _ in range(2):
        cluster.add_node(**node)
    try:
        options = dict(predictions=sys.argv[1], annotations=sys.argv[2], out=sys.argv[3], by=("track_length",))
        run(EvaluateConfig(address=cluster.address, **options))
    finally:
        cluster.shutdown()
"""


@pytest.fixture(scope="module")
def tables(golden, tmp_path_factory):
    """The golden tracks but the largest, cut into a table for each video."""
    folder = tmp_path_factory.mktemp("tables")
    table = pq.read_table(golden / "metrics" / "pred.parquet")
    for video in sorted(set(table["video_id"].to_pylist()) - {"uhd-2160x3840"}):
        pq.write_table(
            table.filter([one == video for one in table["video_id"].to_pylist()]), folder / f"{video}.parquet"
        )
    return {"predictions": str(folder), "annotations": str(golden / "metrics" / "gt.parquet")}


@pytest.fixture(scope="module")
def here(tables, tmp_path_factory):
    return scores(tmp_path_factory.mktemp("here"), **tables)


def scores(folder, **options):
    evaluate.run(EvaluateConfig(out=str(folder), by=("track_length",), **options))
    return read(folder)


def read(folder: Path):
    summary = json.loads((folder / "summary.json").read_text())
    del summary["out"]
    return summary, *(pq.read_table(folder / f"{name}.parquet") for name in ("scores", "frame_scores"))


@pytest.mark.ray
def test_two_workers_give_what_one_process_gives(tables, here, ray_session, tmp_path):
    assert scores(tmp_path, address="local", **tables) == here


@pytest.mark.ray
def test_errors_of_workers_are_plain(tables, ray_session, tmp_path):
    truth = pq.read_table(tables["annotations"])
    broken = [b"broken" if row == 3 else counts for row, counts in enumerate(truth["counts"].to_pylist())]
    column = truth.column_names.index("counts")
    pq.write_table(truth.set_column(column, "counts", [broken]), tmp_path / "gt.parquet")
    options = tables | {"annotations": str(tmp_path / "gt.parquet")}
    with pytest.raises(InputError, match="^video_id=bike-packing expression_id=0: frame 3: annotation: "):
        scores(tmp_path, address="local", **options)


@pytest.mark.slow
def test_three_nodes(tables, here, tmp_path):
    script = tmp_path / "three_nodes.py"
    script.write_text(THREE_NODES)
    command = [sys.executable, script, tables["predictions"], tables["annotations"], tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert read(tmp_path) == here


def test_small_inputs_start_no_ray(tables, tmp_path):
    code = (
        "import sys; from jobs.evaluate import EvaluateConfig, run; "
        "run(EvaluateConfig(predictions=sys.argv[1], annotations=sys.argv[2], out=sys.argv[3])); "
        "sys.exit('ray' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tables["predictions"], tables["annotations"], tmp_path]
    assert subprocess.run(command, check=False).returncode == 0
