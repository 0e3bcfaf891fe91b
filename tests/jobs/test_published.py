"""`rvos benchmark` gives what the official scripts write, on the recordings of whole benchmarks.

They lie in `../shared/published`; the environment variable RVOS_PUBLISHED_DIR names another folder of the same form.
Weights follow from their names (`tests.parity`), by the salts in README.md there.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs.config.segment import SegmentConfig
from jobs.segment_options import frame_options, model_options
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.segment.events import UnitJob
from schemas import rle
from tests import parity
from tests.one_unit import segment_unit

SALTS = {"resnet50": "r1", "video_swin_t_p4w7": "s6"}
SIZES: dict[str, dict[str, Any]] = {
    "ref-youtube-vos": {"short_side": 96},
    "ref-davis17": {"short_side": 96},
    "a2d": {"short_side": 96, "max_size": 170},
}
ROOTS = {"ref-youtube-vos": "ref-youtube-vos", "ref-davis17": "ref-davis", "a2d": "a2d"}
NEAR = 1e-4  # logits this close to the threshold may fall on either side

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def published(shared) -> Path:
    return Path(os.environ.get("RVOS_PUBLISHED_DIR", shared / "published"))


@pytest.fixture(scope="module", params=list(SALTS))
def backbone(request, published) -> str:
    if not (published / "expected" / request.param).is_dir():
        pytest.skip(f"REFERENCE DATA ABSENT: no {request.param} in {published}")
    return request.param


@pytest.fixture(scope="module")
def weights(backbone, shared, tmp_path_factory) -> str:
    """A checkpoint folder with the weights of the recordings."""
    import torch

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


def benchmark(name: str, published: Path, weights: str, out: Path) -> Path:
    root = published / "data" / ROOTS[name]
    if not root.is_dir():
        pytest.skip(f"REFERENCE DATA ABSENT: no {root}")
    sizes = [word for key, size in SIZES[name].items() for word in (f"--{key.replace('_', '-')}", size)]
    rvos("benchmark", name, root, "--checkpoint", weights, "--out", out, *sizes)
    return out


def masks(run: Path) -> list[dict]:
    return [
        row for part in storage.names(str(run / "masks")) for row in pq.read_table(run / "masks" / part).to_pylist()
    ]


def decoded(row: dict) -> np.ndarray:
    counts = row["counts"]
    return rle.decode(counts if isinstance(counts, bytes) else counts.encode(), row["height"], row["width"])


def near_threshold(name: str, out: Path, weights: str, key) -> dict:
    """Pixels of each mask whose logit is within NEAR of the threshold, bool [H, W]: they differ between two runs."""
    rows = read_manifest(str(out / "data/manifest.parquet")).to_pylist()
    found = []
    for sign in (-1, 1):
        threshold = 1 / (1 + math.exp(-sign * NEAR))
        config = SegmentConfig(manifest="", run="", rules=name, checkpoint=weights, threshold=threshold, **SIZES[name])
        unit = UnitJob(unit_id="0", fingerprint="", uri=str(out / f"{sign}.parquet"), rows=rows)
        segment_unit(unit, model_options(config, None).load(), frame_options(config))
        found.append({key(row): decoded(row) for row in pq.read_table(unit.uri).to_pylist()})
    return {each: found[0][each] != found[1][each] for each in found[0]}


def by_frame(row: dict) -> tuple:
    return row["video_id"], row["expression_id"], row["frame_name"]


def test_ref_youtube_vos(ray_session, published, backbone, weights, tmp_path):
    out = benchmark("ref-youtube-vos", published, weights, tmp_path)
    expected = pq.read_table(published / "expected" / backbone / "ref-youtube-vos.parquet").to_pylist()
    found = {by_frame(row): decoded(row) for row in masks(out / "run")}
    assert {by_frame(row) for row in expected} == set(found)
    near = near_threshold("ref-youtube-vos", out, weights, by_frame)
    differing = [(by_frame(row), decoded(row) != found[by_frame(row)]) for row in expected]
    print(f"{sum(int(wrong.sum()) for _, wrong in differing)} pixels differ")
    assert [key for key, wrong in differing if (wrong & ~near[key]).any()] == []
    assert (out / "submission.zip").is_file()


def test_a2d(ray_session, published, backbone, weights, tmp_path):
    out = benchmark("a2d", published, weights, tmp_path)
    recorded = json.loads((published / "expected" / backbone / "a2d.json").read_text())

    def by_candidate(row: dict) -> tuple:
        return row["video_id"], row["expression_id"], row["query"]

    found = {by_candidate(row): row for row in masks(out / "run")}
    assert len(found) == len(recorded["predictions"])
    near = near_threshold("a2d", out, weights, by_candidate)
    seen: dict[str, int] = {}
    for prediction in recorded["predictions"]:
        video, _, rest = prediction["image_id"][2:].partition("_f_")
        frame, _, instance = rest.partition("_i_")
        query = seen[prediction["image_id"]] = seen.get(prediction["image_id"], -1) + 1
        key = (video, f"{instance}_{int(frame) - 1:05d}", query)
        height, width = prediction["segmentation"]["size"]
        wanted = decoded({"counts": prediction["segmentation"]["counts"], "height": height, "width": width})
        assert not ((wanted != decoded(found[key])) & ~near[key]).any(), key
        assert found[key]["score"] == pytest.approx(prediction["score"], abs=1e-5)
    overall = json.loads((out / "scores/summary.json").read_text())["overall"]
    names = {"mAP 0.5:0.95": "mAP", "overall_iou": "overall IoU", "mean_iou": "mean IoU"}
    names |= {f"P@0.{digit}": f"P@0.{digit}" for digit in range(5, 10)}
    print({ours: (overall[ours], recorded["metrics"][theirs]) for theirs, ours in names.items()})
    for theirs, ours in names.items():
        assert overall[ours] == pytest.approx(recorded["metrics"][theirs], abs=1e-4), ours


def test_ref_davis17(ray_session, published, backbone, weights, tmp_path):
    out = benchmark("ref-davis17", published, weights, tmp_path)
    found = {by_frame(row): decoded(row) for row in masks(out / "run")}
    differing = total = 0
    for row in pq.read_table(published / "expected" / backbone / "ref-davis17.parquet").to_pylist():
        annotator = int(str(row["annotator"])[-1])
        expression = str(4 * (int(row["object_id"]) - 1) + annotator)
        wrong = found.pop((row["video_id"], expression, row["frame_name"])) != decoded(row)
        differing, total = differing + int(wrong.sum()), total + wrong.size
    for rest in found.values():  # objects that their label maps do not show in a frame
        differing, total = differing + int(rest.sum()), total + rest.size
    print(f"{differing} of {total} pixels differ")
    # Their pixels also change where two objects are as probable, or one as the background.
    assert differing <= 1e-5 * total
    metrics = json.loads((published / "expected" / backbone / "ref-davis17_metrics.json").read_text())
    rows = {row["value"]: row for row in json.loads((out / "scores/summary.json").read_text())["by"]["annotator"]}
    for annotator in range(4):
        names, values = (line.split(",") for line in metrics[f"anno_{annotator} global"])
        wanted = dict(zip(names, map(float, values), strict=True))
        row = rows[next(name for name in rows if str(name).endswith(str(annotator)))]
        for theirs, ours in (("J&F-Mean", "J&F"), ("J-Mean", "J"), ("F-Mean", "F")):
            assert row[ours] == pytest.approx(wanted[theirs], abs=1e-4), (annotator, ours)
