"""Compare scores with those of published evaluators: the golden cases, and live with vos-benchmark where it is there.

    python benchmarks/peers.py
    pip install vos-benchmark && python benchmarks/peers.py --random 2000

Golden cases are random masks with the values that the published code gave for them (tests/golden/peers/README.md). All
cases of a protocol are scored by one evaluation, in which each case is a video.
"""

import argparse
import gzip
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs import evaluate
from jobs.evaluate import EvaluateConfig, EvaluateResult
from schemas import rle
from schemas.masks import ANNOTATIONS

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "peers"
LABEL_METRICS = ("J", "F", "J-recall", "F-recall")
EXPRESSION_METRICS = {"mevis": ("J", "F"), "revos": ("J", "F"), "long-rvos": ("J", "F", "tIoU", "vIoU")}

Comparison = tuple[str, float, float]  # what was compared, our value and theirs


def golden_cases(kind: str) -> list[dict[str, Any]]:
    """Return the cases of a kind, labels or expression, with the arrays `truth` and `pred`."""
    cases = [case for case in json.loads((GOLDEN / "expected.json").read_text()) if case["kind"] == kind]
    with np.load(GOLDEN / "masks.npz") as arrays:
        return [case | {side: arrays[f"{case['name']}_{side}"] for side in ("truth", "pred")} for case in cases]


def compare_label_maps(protocol: str, cases: Sequence[dict], folder: Path) -> Iterator[Comparison]:
    """Compare means over the objects of each video: ref-davis17 and davis-semisupervised."""
    cases = [case for case in cases if case[protocol]]
    found = _score_label_maps(protocol, cases, folder).pairs.groupby("video_id")[list(LABEL_METRICS)].mean()
    for case in cases:
        for metric in LABEL_METRICS:
            yield f"{case['name']} {metric}", float(found.at[case["name"], metric]), case[protocol][metric]


def compare_annotators(cases: Sequence[dict], folder: Path) -> Iterator[Comparison]:
    """Compare means over the objects of each annotator: ref-davis17, whose score is the mean of these means."""
    predictions, manifest = [], []
    for case in cases:
        _write_tree(folder / "truth" / case["name"], {f"{t:05d}": frame for t, frame in enumerate(case["truth"])})
        of_truth = set(np.unique(case["truth"])) - {0, 255}
        for annotator, frames in enumerate(case["pred"]):
            for k in sorted(of_truth | (set(np.unique(frames)) - {0})):
                pair = {"video_id": case["name"], "expression_id": str(4 * (int(k) - 1) + annotator)}
                size = {"height": frames.shape[1], "width": frames.shape[2]}
                masks = rle.encode(frames == k)
                predictions += [pair | size | {"frame_index": t, "counts": one} for t, one in enumerate(masks)]
                manifest.append(pair | {"video_uri": "/v", "expression": "x", "object_ids": [str(k)]})
                manifest[-1]["annotator"] = str(annotator)
    inputs = {name: str(folder / f"{name}.parquet") for name in ("predictions", "manifest")}
    pq.write_table(pa.Table.from_pylist(predictions), inputs["predictions"])
    pq.write_table(pa.Table.from_pylist(manifest), inputs["manifest"])
    pairs = _evaluate("ref-davis17", folder, annotations=str(folder / "truth"), force=True, **inputs).pairs
    found = pairs.groupby(["video_id", "annotator"])[list(LABEL_METRICS)].mean()
    for case in cases:
        for annotator, means in enumerate(case["ref-davis17"]):
            for metric, value in means.items():
                ours = float(found.at[(case["name"], str(annotator)), metric])
                yield f"{case['name']} annotator {annotator} {metric}", ours, value


def compare_frames(cases: Sequence[dict], folder: Path) -> Iterator[Comparison]:
    """Compare J and F of each object in each frame: vos-benchmark."""
    cases = [case for case in cases if "vos-benchmark" in case]
    _score_label_maps("all-frames", cases, folder)
    rows = pq.read_table(folder / "out" / "frame_scores.parquet").to_pylist()
    ours = {(row["video_id"], f"{row['frame_index']} {row['object_id']}", row["metric"]): row["value"] for row in rows}
    for case in cases:
        for key, values in case["vos-benchmark"].items():
            for metric, value in zip("JF", values, strict=True):
                yield f"{case['name']} frame and object {key} {metric}", ours[case["name"], key, metric], value


def compare_expressions(protocol: str, cases: Sequence[dict], folder: Path) -> Iterator[Comparison]:
    """Compare each expression: mevis, revos, long-rvos."""
    cases = [case for case in cases if protocol in case]
    annotations, manifest = [], []
    for case in cases:
        video, left_out = case["name"], case["missing"] if protocol == "long-rvos" else []
        for k, masks in enumerate(case["truth"]):
            for t, mask in enumerate(masks):
                counts = rle.encode(mask[None])[0] if mask.any() else None
                frame = {"frame_index": t, "frame_name": f"{t:05d}", "height": mask.shape[0], "width": mask.shape[1]}
                annotations.append({"video_id": video, "object_id": str(k), **frame, "counts": counts})
        row = {"video_id": video, "video_uri": f"/{video}", "expression_id": "0", "expression": "x"}
        manifest.append(row | {"object_ids": [str(k) for k in case["objects"]]})
        if not (case["absent"] and protocol == "long-rvos"):
            masks = {f"{t:05d}": mask * 255 for t, mask in enumerate(case["pred"]) if t not in left_out}
            _write_tree(folder / "pred" / video / "0", masks)
    pq.write_table(pa.Table.from_pylist(annotations, schema=ANNOTATIONS), folder / "truth.parquet")
    pq.write_table(pa.Table.from_pylist(manifest), folder / "manifest.parquet")
    inputs = {"annotations": str(folder / "truth.parquet"), "manifest": str(folder / "manifest.parquet")}
    found = _evaluate(protocol, folder, **inputs).pairs.set_index("video_id")
    for case in cases:
        for metric, value in zip(EXPRESSION_METRICS[protocol], case[protocol], strict=True):
            yield f"{case['name']} {metric}", float(found.at[case["name"], metric]), value


def compare_samples(protocol: str, cases: Sequence[dict], folder: Path) -> Iterator[Comparison]:
    """Compare the scores of each set of samples with candidates: a2d, jhmdb."""
    for n, case in enumerate(cases):
        truth, pred = [], []
        for number, sample in enumerate(case["samples"]):
            size = dict(zip(("height", "width"), sample["size"], strict=True))
            ids = {"video_id": f"v{number}", "expression_id": "0", "frame_index": 0, **size}
            truth.append(ids | {"counts": sample["truth"].encode()})
            for query, (counts, score) in enumerate(sample["candidates"]):
                pred.append(ids | {"counts": counts.encode(), "score": score, "query": query})
        inputs = {"annotations": str(folder / f"{n}-truth.parquet"), "predictions": str(folder / f"{n}-pred.parquet")}
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(truth), inputs["annotations"])
        pq.write_table(pa.Table.from_pylist(pred), inputs["predictions"])
        found = _evaluate(protocol, folder, force=True, **inputs).summary["overall"]
        for metric, value in case["expected"].items():
            ours = found[metric]
            yield f"set {n} {metric}", -1.0 if ours is None else ours, -1.0 if value is None else value


def sample_sets() -> list[dict[str, Any]]:
    """Return the sets of samples with the values of MTTR and COCOeval."""
    return json.loads(gzip.decompress((GOLDEN / "a2d.json.gz").read_bytes()))


def compare_all(folder: Path) -> Iterator[tuple[str, list[Comparison]]]:
    """Yield every protocol with its comparisons, golden cases only."""
    labels, expressions = golden_cases("labels"), golden_cases("expression")
    for protocol in ("ref-davis17", "davis-semisupervised"):
        yield protocol, list(compare_label_maps(protocol, labels, folder / protocol))
    yield "ref-davis17, four annotators", list(compare_annotators(golden_cases("annotators"), folder / "annotators"))
    yield "vos-benchmark", list(compare_frames(labels, folder / "frames"))
    for protocol in EXPRESSION_METRICS:
        yield protocol, list(compare_expressions(protocol, expressions, folder / protocol))
    for protocol, step in (("a2d", 1), ("jhmdb", 6)):  # the same rule
        yield protocol, list(compare_samples(protocol, sample_sets()[::step], folder / protocol))


def random_frames(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return cases of one frame with up to four objects, with the values of the installed vos-benchmark."""
    from vos_benchmark.evaluator import Evaluator  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(seed)
    cases = []
    for n in range(count):
        height, width = (int(side) for side in rng.integers(1, 120, 2))
        truth = _blocks(rng, height, width)
        pred = np.roll(truth, rng.integers(-3, 4, 2), (0, 1)) if rng.random() < 0.5 else _blocks(rng, height, width)
        evaluator = Evaluator()
        evaluator.feed_frame(pred, truth)
        theirs = {
            f"0 {k}": [evaluator.object_iou[k][0], evaluator.boundary_f[k][0]] for k in sorted(evaluator.objects_in_gt)
        }
        cases.append({"name": f"r{n}", "truth": truth[None], "pred": pred[None], "vos-benchmark": theirs})
    return cases


def _blocks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw up to four overlapping objects with noise, uint8 [H, W]."""
    labels = np.zeros((height, width), np.uint8)
    for k in range(1, int(rng.integers(2, 6))):
        top, bottom = np.sort(rng.integers(0, height + 1, 2))
        left, right = np.sort(rng.integers(0, width + 1, 2))
        labels[top:bottom, left:right] = k
    labels[rng.random(labels.shape) < 0.02 * rng.integers(0, 3)] = 0
    return labels


def _score_label_maps(protocol: str, cases: Sequence[dict], folder: Path) -> EvaluateResult:
    for case in cases:
        for side in ("truth", "pred"):
            _write_tree(folder / side / case["name"], {f"{t:05d}": frame for t, frame in enumerate(case[side])})
    return _evaluate(protocol, folder, annotations=str(folder / "truth"), force=True)  # random labels may be foreign


def _evaluate(protocol: str, folder: Path, **inputs: Any) -> EvaluateResult:
    shutil.rmtree(folder / "out", ignore_errors=True)
    options: Any = {"predictions": str(folder / "pred"), "out": str(folder / "out"), "protocol": protocol}
    return evaluate.run(EvaluateConfig(**options | inputs))


def _write_tree(folder: Path, frames: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in frames.items():
        Image.fromarray(values).save(folder / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=500, help="frames to compare with an installed vos-benchmark")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = list(compare_all(Path(folder)))
        if importlib.util.find_spec("vos_benchmark"):
            live = compare_frames(random_frames(options.random), Path(folder) / "live")
            results.append(("vos-benchmark, live", list(live)))
    print("| evaluator | values | largest difference |\n| --- | --- | --- |")
    for name, compared in results:
        print(f"| {name} | {len(compared):,} | {max(abs(ours - theirs) for _, ours, theirs in compared):.1e} |")


if __name__ == "__main__":
    main()
