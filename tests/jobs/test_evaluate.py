import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import evaluate
from jobs.evaluate import EvaluateConfig
from pipeline.io import storage
from schemas.errors import InputError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, PREDICTIONS, VOID
from schemas.scores import FRAME_SCORES, SCORES
from tests.scored_tables import (
    BOTH,
    EMPTY,
    LEFT,
    RIGHT,
    SIZE,
    annotations,
    manifest,
    manifest_row,
    mask_row,
    png,
    predicted,
    run,
    two_objects,
    write,
)


def test_the_golden_tracks(recordings, tmp_path):
    result = run(tmp_path, predictions=str(recordings / "pred.parquet"), annotations=str(recordings / "gt.parquet"))
    expected = json.loads((recordings / "expected_tracks.json").read_text())["global_mean_over_tracks"]["all_frames"]
    for name in ("J", "F", "J&F"):
        assert result.summary["overall"][name] == pytest.approx(expected[f"{name}_mean"], abs=1e-12)
    assert result.exit_code == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == result.to_json()
    frames = pq.read_table(tmp_path / "out" / "frame_scores.parquet")
    golden_frames = pq.read_table(recordings / "expected_frames.parquet")
    assert frames.schema.equals(FRAME_SCORES)
    assert frames.num_rows == 2 * golden_frames.num_rows
    assert sum(frames["value"].to_pylist()) == pytest.approx(
        sum(golden_frames["J"].to_pylist() + golden_frames["F"].to_pylist())
    )


def test_a_run_is_the_truth_of_another(labelled_run, run_with_failure, tmp_path):
    """Its failed pair is not annotated, so it is not scored."""
    options = {"annotations": run_with_failure.folder, "out": str(tmp_path / "out")}
    result = evaluate.run(EvaluateConfig(predictions=labelled_run.folder, **options))
    assert (result.summary["overall"]["n"], result.summary["overall"]["J&F"]) == (8, 1.0)
    assert "8 scored, 1 unannotated" in result.text()
    masks = storage.join(run_with_failure.folder, "masks")
    again = EvaluateConfig(predictions=labelled_run.folder, annotations=masks, out=str(tmp_path / "again"))
    assert evaluate.run(again).summary["overall"] == result.summary["overall"]


@pytest.fixture
def three_pairs(tmp_path):
    """Video a: the left object, both objects, and an expression without a target."""
    rows = [
        manifest_row("a", "left", ["1"], annotator="x", kinds=["small", "still"], size=1.5),
        manifest_row("a", "both", ["1", "2"], annotator="y", kinds=["still"], size=None),
        manifest_row("a", "none", [], annotator="y", kinds=None, size=0.5),
    ]
    return manifest(tmp_path, rows, kinds=pa.list_(pa.string()), size=pa.float64())


@pytest.mark.parametrize("own_rows", [True, False])
def test_no_target_with_annotations_by_expression(tmp_path, own_rows):
    listed = manifest(tmp_path, [manifest_row("a", "left", ["1"]), manifest_row("a", "none", [])])
    truth = [mask_row("a", frame, LEFT, expression_id="left") for frame in range(4)]
    truth += [mask_row("a", frame, None, expression_id="none") for frame in range(4 * own_rows)]
    options = {
        "manifest": listed,
        "annotations": annotations(tmp_path, truth, PREDICTIONS),
        "predictions": str(tmp_path / "predictions.parquet"),
    }
    left = predicted("a", "left", [LEFT] * 4)
    for none, accuracy in ((EMPTY, 1.0), (RIGHT, 0.0)):
        write(tmp_path / "predictions.parquet", left + predicted("a", "none", [none] * 4), PREDICTIONS)
        overall = run(tmp_path, **options).summary["overall"]
        assert (overall["n"], overall["N-acc"], overall["T-acc"]) == (2, accuracy, 1.0)
        assert overall["J"] == (1 + accuracy) / 2


def test_annotations_that_show_a_target_win(tmp_path):
    listed = manifest(tmp_path, [manifest_row("a", "left", [])])
    truth = [mask_row("a", frame, LEFT, expression_id="left") for frame in range(4)]
    options = {"annotations": annotations(tmp_path, truth, PREDICTIONS), "manifest": listed}
    masks = write(tmp_path / "predictions.parquet", predicted("a", "left", [LEFT] * 4), PREDICTIONS)
    overall = run(tmp_path, predictions=masks, **options).summary["overall"]
    assert overall["J&F"] == 1.0
    assert "N-acc" not in overall


def test_unions_absent_objects_and_no_target(tmp_path, three_pairs):
    truth = annotations(tmp_path, two_objects())
    predictions = [
        *predicted("a", "left", [LEFT, LEFT, RIGHT, EMPTY]),
        *predicted("a", "both", [BOTH, LEFT, BOTH, LEFT]),
        *predicted("a", "none", [EMPTY, EMPTY, RIGHT, EMPTY]),
    ]
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", predictions, PREDICTIONS),
        annotations=truth,
        manifest=three_pairs,
    )
    scores = {row["expression_id"]: row["J"] for row in found.pairs.to_dict("records")}
    assert scores == {"left": 0.5, "both": (1 + 0.5 + 1 + 1) / 4, "none": 0.75}
    assert found.summary["frames"] == {"scored": 12, "missing": 0}


def test_breakdown_by_attributes(tmp_path, three_pairs):
    predictions = [
        *predicted("a", "left", [LEFT] * 4),
        *predicted("a", "both", [BOTH] * 3 + [LEFT]),
        *predicted("a", "none", [LEFT] * 4),
    ]
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", predictions, PREDICTIONS),
        annotations=annotations(tmp_path, two_objects()),
        manifest=three_pairs,
        by=("annotator", "kinds", "size"),
    )
    by = {name: [(row["value"], row["n"], row["J&F"]) for row in rows] for name, rows in found.summary["by"].items()}
    assert by == {
        "annotator": [("x", 1, 1.0), ("y", 2, 0.5)],
        "kinds": [("small", 1, 1.0), ("still", 2, 1.0), ("(none)", 1, 0.0)],
        "size": [(0.5, 1, 0.0), (1.5, 1, 1.0), ("(none)", 1, 1.0)],
    }
    assert "kinds" in found.text()
    assert max(map(len, found.text().splitlines()[2:])) <= 80
    stored = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert stored.column_names == [*SCORES.names, "object_size", "kinds", "size", "words", "expressions_per_video"]
    assert stored.num_rows == 12  # J&F, J, F, and one of N-acc and T-acc
    rows = [row for row in stored.to_pylist() if row["expression_id"] == "left"]
    assert {row["metric"]: row["value"] for row in rows} == {"J": 1.0, "F": 1.0, "J&F": 1.0, "T-acc": 1.0}
    assert rows[0] | {"metric": None, "value": None} == {
        "video_id": "a",
        "expression_id": "left",
        "object_id": "1",
        "annotator": "x",
        "metric": None,
        "value": None,
        "object_size": 36 / 240,
        "kinds": ["small", "still"],
        "size": 1.5,
        "words": 2,
        "expressions_per_video": 3,
    }


def test_a_run_with_failed_missing_extra_and_unannotated_pairs(tmp_path):
    pairs = [manifest_row("a", "ok", ["1"]), manifest_row("a", "failed", ["1"]), manifest_row("b", "missing", ["2"])]
    pairs += [manifest_row("c", "nowhere", ["1"]), manifest_row("a", "stranger", ["9"])]
    plan = [row | {"unit_id": "u", "row_hash": b"", "pair_frames": 4} for row in pairs]
    folder = tmp_path / "run"
    columns = [pa.field("unit_id", pa.string()), pa.field("row_hash", pa.binary()), pa.field("pair_frames", pa.int32())]
    write(folder / "plan" / "0.parquet", plan, pa.schema([*MANIFEST, *columns]))
    storage.write_bytes(str(folder / "run.json"), b'{"fingerprint": "f", "config": {"frame_step": 2}}')
    failure = {"video_id": "a", "expression_id": "failed", "status": "oom", "error": "out of memory"}
    good = [row | {"status": "ok"} for row in predicted("a", "ok", [LEFT] * 4)][::2]
    write(folder / "masks" / "u.parquet", [*good, failure], PREDICTIONS)
    write(folder / "masks" / "v.parquet", predicted("z", "extra", [LEFT]), PREDICTIONS)
    found = run(tmp_path, predictions=str(folder), annotations=annotations(tmp_path, two_objects()))
    summary = found.summary
    assert summary["pairs"] == {
        "scored": 1,
        "failed": 1,
        "missing": 1,
        "misshaped": 0,
        "unannotated": 2,
        "extra": 1,
    }
    assert summary["frames"] == {"scored": 6, "missing": 4}  # every second one was asked for
    overall = summary["overall"]
    assert (overall["n"], overall["videos"]) == (3, 2)
    assert [overall[name] for name in ("J&F", "J", "F")] == pytest.approx([1 / 3] * 3)
    assert overall["interval"] == {"J&F": None, "J": None, "F": None}
    assert summary["warnings"][0] == "overall: fewer than 5 videos, too few for an interval"
    assert summary["failed_pairs"][0]["error"] == "oom: out of memory"
    assert summary["missing_pairs"][0]["expression_id"] == "missing"
    assert summary["extra_pairs"] == [{"video_id": "z", "expression_id": "extra"}]
    assert found.exit_code == 1
    assert "missing   zero: frames without a prediction score zero" in found.text()


def test_frames_that_are_not_predicted_score_zero(tmp_path):
    predictions = write(tmp_path / "p.parquet", predicted("a", "1", [LEFT, EMPTY]), PREDICTIONS)
    truth = [mask_row("a", frame, LEFT if frame == 0 else EMPTY, expression_id="1") for frame in range(4)]
    schema = pa.schema([*ANNOTATIONS, pa.field("expression_id", pa.string())])
    found = run(tmp_path, predictions=predictions, annotations=annotations(tmp_path, truth, schema))
    assert found.summary["overall"]["J&F"] == 0.5  # an empty frame, not predicted, is not a hit
    assert found.summary["frames"] == {"scored": 4, "missing": 2}
    assert "2 of its frames are not predicted" in found.text()


@pytest.mark.parametrize(
    ("selection", "frames"),
    [
        ({"frames": ["00001", "00003"]}, 2),
        ({"frame_indices": [0, 1, 2]}, 3),
        ({"target_frames": ["00002"]}, 1),
        ({}, 4),
    ],
)
def test_only_frames_that_were_asked_for_count(tmp_path, selection, frames):
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * 4), PREDICTIONS),
        annotations=annotations(tmp_path, two_objects()),
        manifest=manifest(tmp_path, [manifest_row("a", "e", ["1"], **selection)]),
    )
    assert found.summary["frames"]["scored"] == frames


def test_names_join_before_indices(tmp_path):
    truth = [mask_row("a", frame, LEFT, object_id="1") | {"frame_name": f"{5 * frame:05}"} for frame in range(3)]
    shifted = [row | {"frame_index": 7 * row["frame_index"]} for row in predicted("a", "e", [LEFT] * 11)]
    options = {
        "annotations": annotations(tmp_path, truth),
        "manifest": manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
    }
    by_name = run(tmp_path, predictions=write(tmp_path / "p.parquet", shifted, PREDICTIONS), **options)
    assert by_name.summary["frames"] == {"scored": 3, "missing": 0}
    for row in shifted:
        del row["frame_name"]
    by_index = run(tmp_path, predictions=write(tmp_path / "p.parquet", shifted, PREDICTIONS), **options)
    assert by_index.summary["frames"] == {"scored": 3, "missing": 2}


def test_void_pixels_are_not_scored(tmp_path):
    truth = annotations(tmp_path, [mask_row("a", 0, LEFT, object_id="1")])
    annotations(tmp_path, [mask_row("a", 0, RIGHT)], VOID, "void.parquet")
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", predicted("a", "e", [BOTH]), PREDICTIONS),
        annotations=truth,
        manifest=manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
    )
    assert found.summary["overall"]["J&F"] == 1.0
    assert found.summary["void_pixels"]


def test_order_and_cut_of_the_tables_do_not_matter(tmp_path):
    rng = np.random.default_rng(3)
    pairs = [manifest_row(video, str(e), [str(e % 2 + 1)]) for video in "ab" for e in range(5)]
    rows = [
        predicted(pair["video_id"], pair["expression_id"], [rng.random(SIZE) < 0.4 for _ in range(4)]) for pair in pairs
    ]
    options = {
        "annotations": annotations(tmp_path, two_objects()),
        "manifest": manifest(tmp_path, pairs),
    }
    one = write(tmp_path / "one.parquet", [row for pair in rows for row in pair], PREDICTIONS)
    for n, number in enumerate(rng.permutation(len(rows))):
        shuffled = [rows[number][i] for i in rng.permutation(4)]
        write(tmp_path / "many" / f"{n}.parquet", shuffled, PREDICTIONS)
    results = [
        run(tmp_path / name, predictions=where, **options)
        for name, where in (("1", one), ("2", str(tmp_path / "many")))
    ]
    assert results[0].summary["overall"] == results[1].summary["overall"]
    for table in ("scores.parquet", "frame_scores.parquet"):
        one, many = (sorted_rows(tmp_path / name / "out" / table) for name in "12")
        assert one == many


def sorted_rows(path):
    table = pq.read_table(path)
    names = [name for name in ("video_id", "expression_id", "frame_index", "metric") if name in table.column_names]
    return table.sort_by([(name, "ascending") for name in names]).to_pylist()


def test_label_maps_with_and_without_a_manifest(tmp_path, three_pairs):
    for frame in range(4):
        png(tmp_path / "maps" / "a" / f"{frame:05}.png", 1 * LEFT + 2 * RIGHT)
    options = {"predictions": str(tmp_path / "maps"), "annotations": annotations(tmp_path, two_objects(videos="a"))}
    objects = run(tmp_path, **options)
    assert dict(zip(objects.pairs["object_id"], objects.pairs["J"], strict=True)) == {"1": 1.0, "2": 0.75}
    expressions = run(tmp_path, **options, manifest=three_pairs)
    scores = dict(zip(expressions.pairs["expression_id"], expressions.pairs["J"], strict=True))
    assert scores == {"left": 1.0, "both": (3 + 0.5) / 4, "none": 1.0}


@pytest.mark.parametrize("row_group_size", [1, 3, 100])
@pytest.mark.parametrize("task_rows", [1, 2048])
def test_frame_scores_have_one_order(tmp_path, monkeypatch, row_group_size, task_rows):
    monkeypatch.setattr("pipeline.masks.task_planning.TASK_ROWS", task_rows)
    pairs = [("b", "10"), ("a", "x"), ("b", "2"), ("a", "w")]
    requested = manifest(tmp_path, [manifest_row(video, expression, ["1"]) for video, expression in pairs])
    rows = [row for video, expression in pairs for row in predicted(video, expression, [LEFT] * 4)]
    path = write(tmp_path / "p.parquet", [rows[7 * n % len(rows)] for n in range(len(rows))], PREDICTIONS)
    pq.write_table(pq.read_table(path), path, row_group_size=row_group_size)
    run(tmp_path, predictions=path, annotations=annotations(tmp_path, two_objects()), manifest=requested)
    found = pq.read_table(tmp_path / "out" / "frame_scores.parquet").to_pylist()
    names = ("video_id", "expression_id", "frame_index", "metric")
    in_order = [("a", "x"), ("a", "w"), ("b", "10"), ("b", "2")]  # by video, then as in the manifest
    assert [tuple(row[name] for name in names) for row in found] == [
        (*pair, frame, metric) for pair in in_order for frame in range(4) for metric in ("J", "F")
    ]


def test_the_size_of_the_predictions_counts_only_without_an_address(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("pipeline.masks.predictions.storage.size", lambda uri: asked.append(uri) or 1)

    def run_here(function, tasks, *, address, large):
        return map(function, tasks)

    monkeypatch.setattr(evaluate, "run_tasks", run_here)
    inputs = {
        "predictions": write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * 4), PREDICTIONS),
        "annotations": annotations(tmp_path, two_objects()),
        "manifest": manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
    }
    run(tmp_path, address="auto", **inputs)
    assert asked == []
    run(tmp_path, **inputs)
    assert len(asked) == 1


def test_everything_behind_a_uri(tmp_path):
    root = f"memory://{tmp_path.name}"
    for name, rows, schema in (
        ("annotations.parquet", list(two_objects()), ANNOTATIONS),
        ("predictions/p.parquet", predicted("a", "e", [LEFT] * 4), PREDICTIONS),
        ("manifest.parquet", [manifest_row("a", "e", ["1"])], MANIFEST),
    ):
        path = write(tmp_path / name, rows, schema)
        storage.write_bytes(storage.join(root, name), Path(path).read_bytes())
    buffer = io.BytesIO()
    Image.fromarray(LEFT.astype(np.uint8)).save(buffer, "PNG")
    storage.write_bytes(f"{root}/maps/a/00000.png", buffer.getvalue())
    common = {"annotations": f"{root}/annotations.parquet", "manifest": f"{root}/manifest.parquet"}
    out = f"{root}/out"
    parquet = evaluate.run(EvaluateConfig(predictions=f"{root}/predictions", out=out, **common))
    assert parquet.summary["overall"]["J&F"] == 1.0
    assert storage.names(out) == ["frame_scores.parquet", "scores.parquet", "summary.json"]
    maps = evaluate.run(EvaluateConfig(predictions=f"{root}/maps", out=f"{root}/too", **common))
    assert maps.summary["frames"] == {"scored": 4, "missing": 3}
    storage.remove_folder(root)


def test_long_rvos_scores_a_missing_pair_zero(tmp_path):
    absent = [{**row, "counts": None} for row in two_objects(videos="ab") if row["object_id"] == "1"]
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", predicted("b", "e", [EMPTY] * 4), PREDICTIONS),
        annotations=annotations(tmp_path, absent),
        manifest=manifest(tmp_path, [manifest_row(video, "e", ["1"]) for video in "ab"]),
        protocol="long-rvos",
        force=True,
    )
    assert found.pairs[["J", "F", "tIoU", "vIoU"]].to_numpy().tolist() == [[0.0] * 4, [1.0] * 4]


def score(tmp_path, **options):
    return evaluate.run(EvaluateConfig(out=str(tmp_path / "out"), **options))


@pytest.mark.parametrize("change", ["protocol", "missing", "predictions", "annotations", "manifest"])
def test_scores_are_not_replaced_by_those_of_other_inputs(recordings, tmp_path, capsys, change):
    inputs = {"predictions": str(recordings / "pred.parquet"), "annotations": str(recordings / "gt.parquet")}
    score(tmp_path, **inputs)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    table = tmp_path / "copy.parquet"
    table.write_bytes((recordings / "gt.parquet").read_bytes())
    other = {"protocol": "davis-semisupervised", "missing": "skip"}
    with pytest.raises(InputError, match=rf"out holds other scores \(.*{change}.*, now .*\); choose a new folder"):
        score(tmp_path, **inputs | {change: other.get(change, str(table))})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert score(tmp_path, **inputs, by=("motion",)).summary["by"]
    assert capsys.readouterr().err == ""
    score(tmp_path, **inputs, by=("object_size:q4", "motion"))
    assert capsys.readouterr().err == ""
    score(tmp_path, **inputs, by=("object_size:q4",))
    assert capsys.readouterr().err.endswith("out loses its means by motion; to keep them, repeat their --by too\n")


def test_scores_of_another_run_in_the_same_folder_are_not_taken_for_the_same(labelled_run, shapes, tmp_path):
    shutil.copytree(labelled_run.folder, tmp_path / "run")
    inputs = {"predictions": str(tmp_path / "run"), "annotations": shapes[1]}
    score(tmp_path, **inputs)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(document | {"fingerprint": "f" * 32}))
    with pytest.raises(InputError, match=r"run_fingerprint: .* now ffffffff\.\.\."):
        score(tmp_path, **inputs)


@pytest.mark.parametrize("name", ["summary.json", "scores.parquet", "frame_scores.parquet"])
def test_files_of_others_are_not_replaced(recordings, tmp_path, name):
    inputs = {"predictions": str(recordings / "pred.parquet"), "annotations": str(recordings / "gt.parquet")}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=rf"{name} is not a .* of scores; choose a new folder"):
        score(tmp_path, **inputs)
    assert (tmp_path / "out" / name).read_text() == '{"mine": 1}'


def test_what_an_interrupted_evaluation_has_left_is_replaced(recordings, tmp_path):
    inputs = {"predictions": str(recordings / "pred.parquet"), "annotations": str(recordings / "gt.parquet")}
    score(tmp_path, **inputs)
    (tmp_path / "out" / "summary.json").unlink()
    score(tmp_path, **inputs, protocol="davis-semisupervised")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["protocol"] == "davis-semisupervised"
