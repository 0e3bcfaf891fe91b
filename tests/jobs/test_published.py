"""`rvos benchmark` gives what the official scripts write, on the recordings of whole benchmarks.

They lie in `../shared/published`; the environment variable RVOS_PUBLISHED_DIR names another folder of the same form,
which may lack parts. Weights follow from their names (`tests.parity`), by the salts in README.md there.
"""

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from cli import main
from jobs.config.segment import SegmentConfig
from jobs.segment_options import frame_options, model_options
from model.referformer.inference import segmenter
from model.referformer.inference.postprocess import resize_logits
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.segment.events import UnitJob
from schemas import rle
from tests import parity
from tests.one_unit import segment_unit
from tests.reference import Recordings, named_folder

ROOT = Path(__file__).parents[2]
SALTS = {"resnet50": "r1", "video_swin_t_p4w7": "s6"}
SIZES: dict[str, dict[str, Any]] = {
    "ref-youtube-vos": {"short_side": 96},
    "ref-davis17": {"short_side": 96},
    "a2d": {"short_side": 96, "max_size": 170},
}
ROOTS = {"ref-youtube-vos": "ref-youtube-vos", "ref-davis17": "ref-davis", "a2d": "a2d"}
NEAR, FAR = 1e-4, 1e-3  # from the threshold; on Ref-DAVIS17 probabilities, and also from the next object
MOST_OUTSIDE, MOST_DIFFERING = 1e-6, 1e-5  # shares of all pixels: further than NEAR (never than FAR), and in all
PIXELS_OF_ONE = {"a2d": 49}  # by nearest sampling, one pixel of the model input gives up to so many of the mask

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]


VARIABLE = "RVOS_PUBLISHED_DIR"
FOLDER = named_folder(VARIABLE, ROOT.parent / "shared/published")
BACKBONES = sorted({*SALTS, *(path.name for path in FOLDER.glob("expected/*"))})


@pytest.fixture(scope="module")
def published() -> Recordings:
    return Recordings(FOLDER, may_lack=True)


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request, published) -> str:
    published / f"expected/{request.param}"  # skips without it
    assert request.param in SALTS, f"the weights of {request.param} have an unknown salt; add it to SALTS"
    return request.param


@pytest.fixture(scope="module")
def weights(backbone, shared, tmp_path_factory) -> str:
    """A checkpoint folder with the weights of the recordings."""
    from model.referformer.checkpoint import save_checkpoint
    from model.referformer.config import ReferFormerConfig
    from model.referformer.network.referformer import ReferFormer

    config = ReferFormerConfig.published(backbone)
    state = ReferFormer(config).state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.from_numpy(parity.fill(name, tuple(tensor.shape), SALTS[backbone]))
    folder = tmp_path_factory.mktemp("published") / backbone
    save_checkpoint(folder, config, state, shared / "data/tokenizer/roberta-base")
    return str(folder)


def rvos(*words: object) -> None:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def benchmark(request, published, backbone, weights, tmp_path_factory) -> Callable[[str], Path]:
    """benchmark(NAME) -> the folder that `rvos benchmark NAME` filled, once for all tests of a backbone.

    Ref-DAVIS17 with one backbone, since the rule of merging is behind the model and the data set is large; all on
    request.
    """

    @cache
    def run(name: str) -> Path:
        if name == "ref-davis17" and backbone != "video_swin_t_p4w7" and VARIABLE not in os.environ:
            pytest.skip(f"takes minutes: set {VARIABLE}={FOLDER} to run it with {backbone} too")
        root, out = published / f"data/{ROOTS[name]}", tmp_path_factory.mktemp(name)
        request.getfixturevalue("ray_session")  # not before it is certain that all parts are there
        sizes = [word for key, size in SIZES[name].items() for word in (f"--{key.replace('_', '-')}", size)]
        rvos("benchmark", name, root, "--checkpoint", weights, "--out", out, *sizes)
        return out

    return run


def masks(run: Path) -> list[dict]:
    return [
        row for part in storage.names(str(run / "masks")) for row in pq.read_table(run / "masks" / part).to_pylist()
    ]


def decoded(row: dict) -> np.ndarray:
    counts = row["counts"]
    return rle.decode(counts if isinstance(counts, bytes) else counts.encode(), row["height"], row["width"])


def undecided(width: float) -> dict[str, Callable]:
    """Stand-ins for the functions that make masks: their masks are the pixels that are within `width` of a change."""

    def by_threshold(function: Callable) -> Callable:
        low, high = (1 / (1 + math.exp(-logit)) for logit in (-width, width))
        return lambda *arguments: function(*arguments[:-1], low) != function(*arguments[:-1], high)

    def by_probability(logits, size, _threshold) -> list[np.ndarray]:
        probability = torch.stack([resize_logits(one, size) for one in logits]).sigmoid()
        best, winner = probability.max(dim=0)
        second = probability.scatter(0, winner[None], 0.0).amax(0)
        found = ((best - 0.5).abs() <= width) | ((best >= 0.5) & (best - second <= width))
        return [found.numpy()] * len(logits)

    by_logit = {name: by_threshold(getattr(segmenter, name)) for name in ("binary_masks", "nearest_masks")}
    return {**by_logit, "exclusive_masks": by_probability}


def assert_rounding(wrong: dict[tuple, np.ndarray], name: str, out: Path, weights: str, key: Callable) -> None:
    """Differing pixels, bool [H, W] by mask, must be those that another order of summation may change.

    Measured on emulated CPUs (kernels of torch, oneDNN and MKL; one and two threads): mask logits, up to 81 in size,
    move by up to 1e-3. Up to 4 pixels of a million differ, and up to a tenth of these is 1e-4 to 2.5e-4 from the
    threshold. The recordings come from one CPU, so they are no nearer to the exact result.
    """
    rows = read_manifest(str(out / "data/manifest.parquet")).to_pylist()
    config = SegmentConfig(manifest="", run="", rules=name, checkpoint=weights, **SIZES[name])

    def outside(width: float) -> int:
        unit = UnitJob(unit_id="0", fingerprint="", uri=str(out / f"{width}.parquet"), rows=rows)
        with pytest.MonkeyPatch.context() as patch:
            for function, stand_in in undecided(width).items():
                patch.setattr(segmenter, function, stand_in)
            segment_unit(unit, model_options(config, None).load(), frame_options(config))
        near = {key(row): decoded(row) for row in pq.read_table(unit.uri).to_pylist()}
        return sum(int((pixels & ~near[each]).sum()) for each, pixels in wrong.items())

    differing, total = (sum(int(count(pixels)) for pixels in wrong.values()) for count in (np.sum, np.size))
    few, far = 2 * PIXELS_OF_ONE.get(name, 1), outside(NEAR)
    print(f"{name}: {differing} of {total} pixels differ, {far} of them are not within {NEAR}")
    assert differing <= max(few, MOST_DIFFERING * total)
    assert far <= max(few, MOST_OUTSIDE * total)
    assert not far or outside(FAR) == 0


def by_frame(row: dict) -> tuple:
    return row["video_id"], row["expression_id"], row["frame_name"]


def test_ref_youtube_vos(published, backbone, benchmark, weights):
    expected = pq.read_table(published / f"expected/{backbone}/ref-youtube-vos.parquet").to_pylist()
    out = benchmark("ref-youtube-vos")
    found = {by_frame(row): decoded(row) for row in masks(out / "run")}
    assert {by_frame(row) for row in expected} == set(found)
    wrong = {by_frame(row): decoded(row) != found[by_frame(row)] for row in expected}
    assert_rounding(wrong, "ref-youtube-vos", out, weights, by_frame)
    assert (out / "submission.zip").is_file()


def test_a2d(published, backbone, benchmark, weights):
    recorded = json.loads((published / f"expected/{backbone}/a2d.json").read_text())
    out = benchmark("a2d")

    def by_candidate(row: dict) -> tuple:
        return row["video_id"], row["expression_id"], row["query"]

    found = {by_candidate(row): row for row in masks(out / "run")}
    assert len(found) == len(recorded["predictions"])
    wrong: dict[tuple, np.ndarray] = {}
    seen: dict[str, int] = defaultdict(int)
    for prediction in recorded["predictions"]:
        video, _, rest = prediction["image_id"][2:].partition("_f_")
        frame, _, instance = rest.partition("_i_")
        key = (video, f"{instance}_{int(frame) - 1:05d}", seen[prediction["image_id"]])
        seen[prediction["image_id"]] += 1
        height, width = prediction["segmentation"]["size"]
        wanted = decoded({"counts": prediction["segmentation"]["counts"], "height": height, "width": width})
        wrong[key] = wanted != decoded(found[key])
        assert found[key]["score"] == pytest.approx(prediction["score"], abs=1e-5)
    assert_rounding(wrong, "a2d", out, weights, by_candidate)
    overall = json.loads((out / "scores/summary.json").read_text())["overall"]
    names = {"mAP 0.5:0.95": "mAP", "overall_iou": "overall IoU", "mean_iou": "mean IoU"}
    names |= {f"P@0.{digit}": f"P@0.{digit}" for digit in range(5, 10)}
    print({ours: (overall[ours], recorded["metrics"][theirs]) for theirs, ours in names.items()})
    for theirs, ours in names.items():
        assert overall[ours] == pytest.approx(recorded["metrics"][theirs], abs=1e-4), ours


def test_masks_of_ref_davis17(published, backbone, benchmark, weights):
    expected = pq.read_table(published / f"expected/{backbone}/ref-davis17.parquet").to_pylist()
    out = benchmark("ref-davis17")
    found = {by_frame(row): decoded(row) for row in masks(out / "run")}
    wrong: dict[tuple, np.ndarray] = {}
    for row in expected:
        annotator = int(str(row["annotator"])[-1])
        key = (row["video_id"], str(4 * (int(row["object_id"]) - 1) + annotator), row["frame_name"])
        wrong[key] = found.pop(key) != decoded(row)
    wrong |= found  # objects that their label maps do not show in a frame
    assert_rounding(wrong, "ref-davis17", out, weights, by_frame)


def test_metrics_of_ref_davis17(published, backbone, benchmark):
    metrics = json.loads((published / f"expected/{backbone}/ref-davis17_metrics.json").read_text())
    out = benchmark("ref-davis17")
    rows = {row["value"]: row for row in json.loads((out / "scores/summary.json").read_text())["by"]["annotator"]}
    pairs = pq.read_table(out / "scores/scores.parquet").to_pylist()
    values = {(row["video_id"], row["expression_id"], row["metric"]): row["value"] for row in pairs}
    for annotator in range(4):
        (wanted,) = csv.DictReader(metrics[f"anno_{annotator} global"])
        row = rows[next(name for name in rows if str(name).endswith(str(annotator)))]
        for theirs, value in wanted.items():
            ours = theirs.removesuffix("-Mean").replace("-R", "-r").replace("-D", "-d")
            assert row[ours] == pytest.approx(float(value), abs=1e-4), (annotator, ours)
        table: dict[str, list[tuple[float, ...]]] = defaultdict(list)  # theirs is in order of predictions, not objects
        for wanted in csv.DictReader(metrics[f"anno_{annotator} per-sequence"]):
            table[wanted["Sequence"].rpartition("_")[0]].append((float(wanted["J-Mean"]), float(wanted["F-Mean"])))
        for video, objects in table.items():
            numbers = [str(4 * k + annotator) for k in range(len(objects))]
            found = sorted((values[video, number, "J"], values[video, number, "F"]) for number in numbers)
            for ours, theirs in zip(found, sorted(objects), strict=True):
                assert ours == pytest.approx(theirs, abs=1e-4), (annotator, video)
