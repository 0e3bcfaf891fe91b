"""Score the bundled checkpoint on unseen moving shapes: J&F by kind of sentence, in both published modes.

Two controls must lower the score: sentences of other videos, and the opposite direction of motion. Also prints the mean
IoU of the boxes with those around the true masks.

python benchmarks/tiny.py --out tiny-scores [--checkpoint DIR] [--videos 180] [--no-target-below 0]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import refervos
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.segment import SegmentConfig
from jobs.segment import run as segment
from model.boxes import boxes_of
from model.bundled import BUNDLED
from pipeline.cluster.session import connect_to_ray
from pipeline.datasets.synthetic.shape_sentences import opposite_direction
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from schemas import rle
from schemas.pair import PairKey

BY = ("kind", "unseen", "size", "occlusion", "objects")


def shuffled(rows: list[dict]) -> list[dict]:
    """Each pair with the sentence of another video."""
    half = len(rows) // 2
    return [row | {"expression": rows[(i + half) % len(rows)]["expression"]} for i, row in enumerate(rows)]


def directed(rows: list[dict]) -> list[dict]:
    """Return the pairs whose sentence names a direction of motion."""
    return [row for row in rows if row["kind"] == "motion" and opposite_direction(row["expression"])]


def turned(rows: list[dict]) -> list[dict]:
    """The same with the opposite direction."""
    return [row | {"expression": opposite_direction(row["expression"])} for row in directed(rows)]


# Name: what becomes of the manifest's rows, window.
RUNS: dict[str, tuple[Callable[[list[dict]], list[dict]], str]] = {
    "36-frame windows": (list, "36"),
    "whole videos": (list, "whole"),
    "sentences of other videos": (shuffled, "36"),
    "direction as it is": (directed, "36"),
    "opposite direction": (turned, "36"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--checkpoint", default=BUNDLED)
    parser.add_argument("--videos", type=int, default=180)
    parser.add_argument("--no-target-below", type=float, help="as of rvos segment; default: from the checkpoint")
    options = parser.parse_args()
    out = Path(options.out).absolute()
    videos = SyntheticVideos(videos=options.videos, split="test", frames=(8, 12), expressions=2, seed=2026)
    manifest, annotations, kinds = videos.write(str(out / "data"))
    table = pq.read_table(manifest)
    print(f"{table.num_rows} pairs in {options.videos} videos: {dict(sorted(kinds.items()))}\n")
    with connect_to_ray("local"):  # one for all runs
        summaries = {
            name: scored(name, change(table.to_pylist()), table.schema, window, annotations, out, options)
            for name, (change, window) in RUNS.items()
        }
    print("\n".join(report(summaries)))
    run = str(out / "runs" / "36-frame-windows")
    print(f"\nmean box IoU, over the frames that show the object: {box_iou(run, table.to_pylist(), annotations):.3f}")
    (out / "summary.json").write_text(json.dumps(summaries, indent=2) + "\n")


def scored(
    name: str, rows: list[dict], schema: pa.Schema, window: str, annotations: str, out: Path, flags: argparse.Namespace
) -> dict:
    """The summary of `rvos evaluate` on what `rvos segment` makes of these rows."""
    manifest = out / "data" / f"{name.replace(' ', '-')}.parquet"  # next to the videos
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), manifest)
    run = str(out / "runs" / manifest.stem)
    config = {"checkpoint": flags.checkpoint, "no_target_below": flags.no_target_below, "window": window}
    segment(SegmentConfig(manifest=str(manifest), run=run, **config))
    scores = str(out / "scores" / manifest.stem)
    return evaluate(EvaluateConfig(predictions=run, annotations=annotations, out=scores, by=BY)).summary


def box_iou(run: str, rows: list[dict], annotations: str) -> float:
    """Return the mean IoU of the boxes of a run with those around the true masks, over frames with the object."""
    truth = {
        (row["video_id"], row["object_id"], row["frame_index"]): boxes_of(
            rle.decode(row["counts"], row["height"], row["width"])[None]
        )[0]
        for row in pq.read_table(annotations).to_pylist()
        if row["counts"] is not None
    }
    objects = {PairKey.of(row): row["object_ids"] for row in rows}
    ious = []
    for row in refervos.read_masks(run, columns=["video_id", "expression_id", "frame_index", "box"]).to_pylist():
        (meant,) = objects[PairKey.of(row)]
        true = truth.get((row["video_id"], meant, row["frame_index"]))
        if true is not None and true.any():
            box = np.array(row["box"])
            low, high = np.maximum(box[:2], true[:2]), np.minimum(box[:2] + box[2:], true[:2] + true[2:])
            common = (high - low).clip(min=0).prod()
            ious.append(common / (box[2:].prod() + true[2:].prod() - common))
    return float(np.mean(ious))


def report(summaries: dict[str, dict]) -> list[str]:
    """Format the scores as Markdown."""
    lines = ["| | pairs | J&F | 95 % interval | J | F |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [_line(name, summary["overall"]) for name, summary in summaries.items()]
    first = next(iter(summaries.values()))
    for attribute, rows in first["by"].items():
        lines += [_line(f"{attribute}: {row['value']}", row) for row in rows]
    return lines


def _line(name: str, row: dict) -> str:
    low, high = (f"{100 * end:.1f}" for end in row["interval"].get("J&F", (0, 0)))
    mean, j, f = (f"{100 * row[metric]:.1f}" for metric in ("J&F", "J", "F"))
    return f"| {name} | {row['n']} | {mean} | {low} to {high} | {j} | {f} |"


if __name__ == "__main__":
    main()
