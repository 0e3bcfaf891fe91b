"""evaluate, compare and leaderboard print the same means: those of the protocol."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import compare, evaluate
from jobs.config.compare import CompareConfig
from jobs.config.evaluate import EvaluateConfig
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.leaderboard import Leaderboard
from pipeline.evaluation.summary.protocol_mean import VideoSums
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import parquet
from pipeline.report.over_time import frame_spans, over_time
from schemas import rle
from schemas.errors import InputError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, PREDICTIONS

KIND = pa.field("type_id", pa.int64())


def mask(pixels: int) -> bytes:
    return rle.encode((np.arange(10) < pixels)[None, None])[0]


def evaluated(folder, protocol, pairs) -> list[str]:
    """Score two sets of predictions. pairs: (video, frames, type, pixels of A, pixels of B) of ten true pixels each."""
    annotations, manifest, predictions = [], [], {"A": [], "B": []}
    for number, (video, frames, kind, *pixels) in enumerate(pairs):
        ids = {"video_id": video, "expression_id": str(number)}
        manifest.append(ids | {"video_uri": "x", "expression": "w", "object_ids": [str(number + 1)], "type_id": kind})
        for index in range(frames):
            base = {"video_id": video, "frame_index": index, "frame_name": f"{index:05}", "height": 1, "width": 10}
            annotations.append(base | {"object_id": str(number + 1), "counts": mask(10)})
            for name, count in zip("AB", pixels, strict=True):
                row = ids | base | {"counts": mask(count), "score": 0.9, "query": 0, "status": "ok"}
                predictions[name].append(row)
    pq.write_table(pa.Table.from_pylist(annotations, schema=ANNOTATIONS), folder / "annotations.parquet")
    pq.write_table(pa.Table.from_pylist(manifest, schema=MANIFEST.append(KIND)), folder / "manifest.parquet")
    for name, rows in predictions.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), folder / f"{name}.parquet")
        inputs = {"predictions": f"{folder}/{name}.parquet", "annotations": f"{folder}/annotations.parquet"}
        out = f"{folder}/scores-{name}"
        shutil.rmtree(out, ignore_errors=True)
        evaluate.run(EvaluateConfig(**inputs, manifest=f"{folder}/manifest.parquet", out=out, protocol=protocol))
    return [f"{folder}/scores-{name}" for name in "AB"]


@pytest.mark.parametrize("protocol", ["a2d", "jhmdb", "revos", "ref-davis17-strict", "long-rvos"])
def test_compare_and_leaderboard_have_the_means_of_evaluate(tmp_path, protocol):
    rng = np.random.default_rng(0)
    draw = lambda: (int(rng.integers(1, 5)), int(rng.random() < 0.3), *rng.integers(1, 10, 2).tolist())  # noqa: E731
    folders = evaluated(tmp_path, protocol, [(f"v{n // 2}", *draw()) for n in range(40)])
    first, second = (ScoreFolder.open(folder) for folder in folders)
    for metric in first.metrics:
        config = CompareConfig(scores=tuple(folders), metric=metric)
        if "AP" in metric:  # over all samples, not over pairs
            with pytest.raises(InputError, match="no pairs with the metric"):
                compare.run(config)
            continue
        found = compare.run(config).comparisons[0]
        assert found["baseline"] == first.summary["overall"][metric]  # in every digit
        assert found["value"] == second.summary["overall"][metric]
        assert found["difference"] == pytest.approx(found["value"] - found["baseline"], abs=1e-12)
        assert (found["low"] > 0 or found["high"] < 0) == (found["p"] < 0.05)
    for name, scored in (("A", first), ("B", second)):
        Leaderboard.add(str(tmp_path / "board"), name, scored)
    standings = Leaderboard.open(str(tmp_path / "board")).standings()
    p = compare.run(CompareConfig(scores=tuple(folders))).comparisons[0]["p"]
    assert standings[1]["p_against_first"] == pytest.approx(p)


@pytest.mark.parametrize("protocol", ["all-frames", "a2d", "revos", "long-rvos"])
def test_no_digit_of_a_mean_depends_on_the_order_or_the_files_of_the_rows(tmp_path, protocol):
    rng = np.random.default_rng(3)
    pairs = [(f"v{n // 3}", 1 + n % 4, n % 2, *rng.integers(1, 10, 2).tolist()) for n in range(60)]
    (folder, _), overall = evaluated(tmp_path, protocol, pairs), []
    rows = pq.read_table(tmp_path / "A.parquet")
    pair = rows["expression_id"].to_numpy().astype(int)
    for pieces in (1, 2, 7):
        order = rng.permutation(len(rows))
        parts = tmp_path / f"parts-{pieces}"
        parts.mkdir()
        for n in range(pieces):
            part = order[pair[order] % pieces == n]
            pq.write_table(rows.take(part), parts / f"{n}.parquet", row_group_size=5)
        inputs = {"predictions": str(parts), "annotations": f"{tmp_path}/annotations.parquet"}
        out = str(tmp_path / f"scores-{pieces}")
        config = EvaluateConfig(manifest=f"{tmp_path}/manifest.parquet", out=out, protocol=protocol, **inputs)
        evaluate.run(config)
        overall.append(ScoreFolder.open(out).summary["overall"])
    assert overall == [ScoreFolder.open(folder).summary["overall"]] * 3


@pytest.mark.parametrize("strata", [None, "kinds"])
def test_sums_are_exact_in_any_order(strata):
    rng = np.random.default_rng(4)
    values, weights = rng.random((1000, 3)) ** 9, rng.integers(1, 50, (1000, 3)).astype(float)
    videos, kinds = rng.integers(0, 30, 1000).astype(str), rng.integers(0, 2, 1000)
    means = []
    for _ in range(5):
        order = rng.permutation(1000)
        layers = None if strata is None else kinds[order]
        means.append(VideoSums.of(values[order], weights[order], videos[order], layers).means().tolist())
        alone = [
            VideoSums.of(values[order, n : n + 1], weights[order, n : n + 1], videos[order], layers) for n in range(3)
        ]
        means.append([float(one.means()[0]) for one in alone])  # one metric, as of a leaderboard
    assert means == means[:1] * 10


def test_the_sign_of_the_change_is_that_of_the_protocol(tmp_path):
    """By pairs B is better, by the protocol A is: of 45 pairs, the five of the second type weigh as much as the 40."""
    pairs = [(f"v{n:02}", 1, int(n >= 40), *((9, 4) if n >= 40 else (5, 7))) for n in range(45)]
    folders = evaluated(tmp_path, "revos", pairs)
    found = compare.run(CompareConfig(scores=tuple(folders))).comparisons[0]
    assert (found["baseline"], found["value"]) == (pytest.approx(0.35), pytest.approx(0.275))
    assert found["low"] < 0
    for folder in folders:
        Leaderboard.add(str(tmp_path / "board"), folder[-1], ScoreFolder.open(folder))
    standings = Leaderboard.open(str(tmp_path / "board")).standings()
    assert [entry["name"] for entry in standings] == ["A", "B"]
    assert standings[1]["p_against_first"] > 0.05  # five videos of a type are too few


def test_the_plot_over_time_shows_the_mean_of_the_protocol(tmp_path):
    """Scores of masks that do not change over time, without the three pairs of type 2, which ReVOS leaves out."""
    pairs = [(f"v{n}", 10, int(n >= 8), 9 if n >= 8 else 5, 5) for n in range(12)]
    scored = ScoreFolder.open(evaluated(tmp_path, "revos", [*pairs, *((f"w{n}", 10, 2, 1, 1) for n in range(3))])[0])
    spans = frame_spans(scored)
    plot = over_time(scored, scored.pairs().join(spans["frames"], on=list(SCORE_IDS)), spans)
    assert plot
    for line in plot.lines:
        assert [point.y for point in line.points] == pytest.approx([scored.summary["overall"][line.name]] * 10)


def test_scores_without_what_the_protocol_averages_by_are_refused(tmp_path):
    folders = evaluated(tmp_path, "a2d", [(f"v{n}", 1 + n % 2, 0, 5, 6) for n in range(6)])
    path = f"{folders[1]}/scores.parquet"
    parquet.write_table(path, pq.read_table(path).drop_columns(["weight_in_mean"]))
    with pytest.raises(InputError, match=r"scores-B has no weight_in_mean, by which a2d averages"):
        compare.run(CompareConfig(scores=tuple(folders)))
    with pytest.raises(InputError, match="has no weight_in_mean"):
        Leaderboard.add(str(tmp_path / "board"), "B", ScoreFolder.open(folders[1]))
    folders = evaluated(tmp_path, "revos", [(f"v{n}", 1, n % 2, 5, 6) for n in range(6)])
    path = f"{folders[1]}/scores.parquet"
    parquet.write_table(path, pq.read_table(path).drop_columns(["type_id"]))
    with pytest.raises(InputError, match="revos averages by type_id, which only one of"):
        compare.run(CompareConfig(scores=tuple(folders)))
