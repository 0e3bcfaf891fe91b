"""Requests and bytes on S3 by command and unit, counted by a proxy before a real server.

python -m benchmarks.storage_requests --pairs 5000000 --units 500 --checkouts . OTHER_CHECKOUT

A run of many pairs without masks shows what the size of the plan costs, a finished run of few pairs what each unit
costs. Its units are synthetic. `segment` is a whole command with real videos: what its last videos cost, by unit.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.proxy import Proxy
from tests.s3_server import BUCKET, S3Server, environment, free_ports

ROOT = Path(__file__).resolve().parents[1]
ROWS_READ = 40  # units whose plan rows one actor reads
PAIRS, FRAMES = 40, 20  # of a synthetic unit
VIDEOS = (6, 12)  # of the two runs with real videos
FINISHED = ("status", "resume", "audit", "compact")


class CountingProxy(Proxy):
    """Counts bytes in both directions, and the most requests at once."""

    def __init__(self, target: int):
        super().__init__(target)
        self.bytes = self.at_once = self.most_at_once = 0

    async def _forward(self, head: bytes, body: bytes, fault: str | None) -> bytes:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = await super()._forward(head, body, fault)
        finally:
            self.at_once -= 1
        self.bytes += len(answer) + len(body)
        return answer


def _either(name: str, earlier: str) -> str:
    """Return the name of a module in this version or an earlier one."""
    try:
        return name if importlib.util.find_spec(name) else earlier
    except ModuleNotFoundError:
        return earlier


def make_manifest(uri: str, pairs: int) -> None:
    video = np.arange(pairs) // 5
    ids = np.char.mod("video%08d", video)
    words = np.random.default_rng(0).integers(0, 1000, pairs)
    table = pa.table(
        {
            "video_id": ids,
            "video_uri": np.char.add(np.char.add("s3://corpus/videos/", ids), ".mp4"),
            "expression_id": (np.arange(pairs) % 5).astype(str),
            "expression": np.char.mod("the person in the red jacket number %d walking to the left", words),
            "num_frames": pa.repeat(pa.scalar(102, pa.int32()), pairs),
        }
    )
    earlier = _either("pipeline.io.storage", "pipeline.storage")
    importlib.import_module(_either("pipeline.io.parquet", earlier)).write_table(uri, table)


def config(base: str, **options: Any) -> Any:
    from jobs import segment

    with contextlib.suppress(ImportError):  # an earlier version takes its own checkpoint without being told
        from model.bundled import BUNDLED

        options["checkpoint"] = BUNDLED
    return segment.SegmentConfig(manifest=f"{base}/manifest.parquet", run=f"{base}/run", **options)


def plan(base: str, pairs: int) -> None:
    from jobs import segment

    segment.RECORDED_PACKAGES = ()  # an earlier version needs packages that are not installed any more
    make_manifest(f"{base}/manifest.parquet", pairs)
    _, units, *_ = segment.prepare(config(base, unit_frames=PAIRS * 102))
    print(json.dumps({"units": len(units)}))


def commit(base: str, count: int) -> None:
    """Commit the first units, with masks of few frames."""
    import dataclasses
    from concurrent.futures import ThreadPoolExecutor

    commits = importlib.import_module(_either("pipeline.runs.commit", "pipeline.runs.units"))
    Receipt, UnitWriter = commits.Receipt, commits.UnitWriter  # noqa: N806 - classes
    from pipeline.runs.run import Run
    from schemas import rle
    from schemas.masks import PREDICTIONS

    run, rng, valid = Run.open(f"{base}/run"), np.random.default_rng(0), rle.empty(480, 854)
    pairs = run.manifest().select(["video_id", "expression_id"])
    plans = pa.concat_tables(run.read_part(part, ["unit_id", "video_id", "expression_id"]) for part in run.parts())
    assert len(pairs) == len(plans)
    more: dict[str, Any] = (
        {"run_id": run.run_id} if any(f.name == "run_id" for f in dataclasses.fields(Receipt)) else {}
    )
    counts = [valid, *(rng.bytes(400) for _ in range(FRAMES - 2)), valid]

    def write(unit) -> Any:
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, run.fingerprint, **more)) as writer:
            for pair in plans.slice(unit.start, unit.stop - unit.start).to_pylist():
                row = {name: pair[name] for name in ("video_id", "expression_id")} | {"height": 480, "width": 854}
                rows = [row | {"frame_index": i, "status": "ok", "counts": each} for i, each in enumerate(counts)]
                writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS))
            return writer.commit()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(write, run.units()[:count]))
    with contextlib.suppress(ImportError):  # of an earlier version
        from pipeline.runs.receipts import ReceiptNotes

        with ReceiptNotes(run, "benchmark") as notes:
            for receipt in made:
                notes.add(receipt)


def rows(base: str, count: int) -> None:
    """Read the plan rows of units all over the plan, as an actor does."""
    from pipeline.runs.run import Run

    run = Run.open(f"{base}/run")
    units = run.units()
    read_rows = (
        run.rows
        if hasattr(run, "rows")
        else __import__("pipeline.runs.plan_reader", fromlist=["PlanReader"]).PlanReader(run).rows
    )
    mark()
    for unit in units[:: max(1, len(units) // count)][:count]:
        assert len(read_rows(unit)) == unit.stop - unit.start


def mark() -> None:
    """Tell the counting process that what comes now counts."""
    print("mark", flush=True)
    sys.stdin.readline()


def finished(step: str, base: str) -> None:
    from jobs import audit, compact, segment, status

    folder = f"{base}/run"
    mark()
    if step == "resume":
        result = segment.run(config(base)).pairs
    elif step == "status":
        result = status.run(status.StatusConfig(run=folder)).pairs_done
    elif step == "audit":
        result = audit.run(audit.AuditConfig(run=folder)).text().splitlines()[-1]
    else:
        result = compact.run(compact.CompactConfig(run=folder, out=f"{base}/compacted")).compacted.rows
    print(json.dumps({"result": result}))


def count(proxy: CountingProxy, checkout: str, *arguments: str) -> dict:
    """Run one step in a process of its own, and return what it has requested from its mark on."""
    path = {"PYTHONPATH": f"{checkout}:{ROOT}", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, "--step", *arguments],
        env=os.environ | environment(proxy.port) | path,
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    found: dict = {}
    before, began = (proxy.requests, proxy.bytes), time.perf_counter()
    for line in process.stdout:
        if line == "mark\n":
            before, began, proxy.most_at_once = (proxy.requests, proxy.bytes), time.perf_counter(), 0
            process.stdin.write("\n")
            process.stdin.flush()
        elif line.startswith("{"):
            found |= json.loads(line)
    assert process.wait() == 0
    seconds = round(time.perf_counter() - began, 1)
    requests, size = proxy.requests - before[0], proxy.bytes - before[1]
    return {"requests": requests, "MB": round(size / 1e6, 2), "at once": proxy.most_at_once, "s": seconds} | found


def segment(proxy: CountingProxy, checkout: str, folder: str, videos: int) -> dict:
    """Run `rvos segment` over real videos on S3, one a unit."""
    from pipeline.io import storage
    from tests.moving_shapes import MovingShapes

    manifest, _ = MovingShapes(videos=videos, num_frames=8, height=96, width=96, seed=1).write(folder)
    base = f"s3://{BUCKET}/segment-{videos}-{Path(checkout).name}"
    for path in Path(folder).rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{base}/{path.relative_to(folder)}", path.read_bytes())
    before = proxy.requests, proxy.bytes
    is_earlier = not (Path(checkout) / "model" / "bundled.py").exists()
    model = [] if is_earlier else ["--checkpoint", "tiny"]
    command = ["segment", f"{base}/{Path(manifest).name}", f"{base}/run", "--actors", "1", "--unit-frames", "12"]
    path = {"PYTHONPATH": checkout, "RAY_USAGE_STATS_ENABLED": "0"}
    made = subprocess.run(
        [sys.executable, "-m", "cli", *command, *model, "--short-side", "32", "--json"],
        env=os.environ | environment(proxy.port) | path,
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert made.returncode in (0, 1), made.stderr
    return {"requests": proxy.requests - before[0], "MB": round((proxy.bytes - before[1]) / 1e6, 2)}


def measure(proxy: CountingProxy, direct: CountingProxy, options: argparse.Namespace) -> None:
    checkouts, large = [str(Path(each).resolve()) for each in options.checkouts], f"s3://{BUCKET}/large"
    for checkout in checkouts:
        print(checkout)
        small = f"s3://{BUCKET}/small-{Path(checkout).name}"
        print("plan", count(proxy, checkout, "plan", small, str(options.units * PAIRS)), flush=True)
        count(direct, checkout, "commit", small, str(options.units))
        for step in FINISHED:
            print(step, count(proxy, checkout, step, small, "0"), flush=True)
        for videos in VIDEOS:
            with tempfile.TemporaryDirectory() as folder:
                print(f"segment {videos} units", segment(proxy, checkout, folder, videos), flush=True)
    print("plan of the large run", count(proxy, str(ROOT), "plan", large, str(options.pairs)), flush=True)
    for checkout in checkouts:
        print(checkout)
        print(f"rows of {ROWS_READ} units", count(proxy, checkout, "rows", large, str(ROWS_READ)), flush=True)
        print("status of the large run", count(proxy, checkout, "status", large, "0"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--checkouts", nargs="+", default=[str(ROOT)], help="of versions to compare")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, base, number = options.step
        steps = {"plan": plan, "commit": commit, "rows": rows}
        steps[step](base, int(number)) if step in steps else finished(step, base)
        return
    ports: dict[str, int] = dict(zip(("master", "volume", "filer", "s3"), free_ports(), strict=False))
    os.environ |= environment(ports["s3"])
    with (
        tempfile.TemporaryDirectory() as folder,
        S3Server(Path(folder), ports),
        CountingProxy(ports["s3"]) as proxy,
        CountingProxy(ports["s3"]) as direct,
    ):
        measure(proxy, direct, options)


if __name__ == "__main__":
    main()
