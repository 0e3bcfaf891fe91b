import base64
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import evaluate, import_dataset
from jobs.evaluate import EvaluateConfig
from pipeline.io import storage
from schemas import rle
from schemas.errors import ImplausibleError, InputError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, PREDICTIONS, VOID
from schemas.scores import FRAME_SCORES, SCORES

SIZE = (12, 20)


def box(left, width, top=2, height=6):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY, LEFT, RIGHT = box(0, 0), box(2, 6), box(10, 6)
BOTH = LEFT | RIGHT


def mask_row(video, frame, mask, **ids):
    counts = mask if mask is None or isinstance(mask, bytes) else rle.encode(mask[None])[0]
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"video_id": video, "frame_index": frame, "frame_name": f"{frame:05}", "counts": counts} | size | ids


def annotations(tmp_path, rows, schema=ANNOTATIONS, name="annotations.parquet"):
    return write(tmp_path / name, list(rows), schema)


def write(path, rows, schema):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in schema.names if any(name in row for row in rows)]
    table = pa.Table.from_pylist(rows, pa.schema([schema.field(name) for name in names]))
    pq.write_table(table, path)
    return str(path)


def two_objects(frames=4, videos=("a", "b")):
    """Object 1 on the left in all frames; object 2 on the right, absent in the last."""
    for video in videos:
        for frame in range(frames):
            yield mask_row(video, frame, LEFT, object_id="1")
            yield mask_row(video, frame, RIGHT if frame < frames - 1 else None, object_id="2")


def manifest_row(video, expression, objects, **more):
    uri = {"video_uri": f"{video}.mp4", "expression": f"object {objects}"}
    return {"video_id": video, "expression_id": expression, "object_ids": objects} | uri | more


def manifest(tmp_path, rows, **attributes):
    schema = MANIFEST
    for name, kind in attributes.items():
        schema = schema.append(pa.field(name, kind))
    return write(tmp_path / "manifest.parquet", rows, schema)


def predicted(video, expression, masks):
    return [mask_row(video, frame, mask, expression_id=expression) for frame, mask in enumerate(masks)]


def run(tmp_path, **options):
    return evaluate.run(EvaluateConfig(out=str(tmp_path / "out"), **options))


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


def test_real_label_maps_against_imported_annotations(shared, tmp_path):
    data = import_dataset.run(
        import_dataset.ImportConfig(
            dataset="ref-youtube-vos", root=str(shared / "data" / "real"), out=str(tmp_path / "data")
        )
    )
    label_maps = str(shared / "data" / "real" / "predictions_osvos")
    result = run(tmp_path, predictions=label_maps, annotations=data.annotations)
    scores = dict(zip(result.pairs["video_id"], result.pairs["J&F"], strict=True))
    assert {video: round(score, 6) for video, score in scores.items()} == {
        "blackswan": 0.958870,
        "car-shadow": 0.918391,
        "libby": 0.683586,
    }
    by_expression = run(tmp_path, predictions=label_maps, annotations=data.annotations, manifest=data.manifest)
    assert by_expression.summary["overall"]["n"] == 12
    assert by_expression.summary["overall"]["J&F"] == pytest.approx(result.summary["overall"]["J&F"], abs=1e-12)


@pytest.fixture
def three_pairs(tmp_path):
    """Video a: the left object, both objects, and an expression without a target."""
    rows = [
        manifest_row("a", "left", ["1"], annotator="x", kinds=["small", "still"], size=1.5),
        manifest_row("a", "both", ["1", "2"], annotator="y", kinds=["still"], size=None),
        manifest_row("a", "none", [], annotator="y", kinds=None, size=0.5),
    ]
    return manifest(tmp_path, rows, kinds=pa.list_(pa.string()), size=pa.float64())


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


def bad_strings(recordings):
    cases = json.loads((recordings / "bad_rle.json").read_text())["cases"]
    return [base64.b64decode(case["counts_base64"]) for case in cases if case["expect"] == "error"]


def test_broken_masks_are_named_and_nothing_is_written(tmp_path, recordings):
    pairs = [manifest_row("a", "e", ["1"])]
    options = {"annotations": annotations(tmp_path, two_objects()), "manifest": manifest(tmp_path, pairs)}
    for counts in bad_strings(recordings):
        rows = predicted("a", "e", [LEFT, LEFT, counts, LEFT])
        predictions = write(tmp_path / "p.parquet", rows, PREDICTIONS)
        with pytest.raises(InputError, match="video_id=a expression_id=e.*: frame 00002: prediction: "):
            run(tmp_path, predictions=predictions, missing="error", **options)
    truth = [mask_row("a", 1, b"broken", object_id="1")]
    options["annotations"] = annotations(tmp_path, truth)
    with pytest.raises(InputError, match="frame 00001: annotation: "):
        run(
            tmp_path, predictions=write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * 2), PREDICTIONS), **options
        )
    assert not list((tmp_path / "out").iterdir())


def test_a_broken_mask_costs_its_pair(tmp_path):
    rows = [*predicted("a", "good", [LEFT] * 4), *predicted("a", "bad", [LEFT, LEFT, b"broken", LEFT])]
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", rows, PREDICTIONS),
        annotations=annotations(tmp_path, two_objects()),
        manifest=manifest(tmp_path, [manifest_row("a", name, ["1"]) for name in ("good", "bad")]),
    )
    assert (found.summary["pairs"]["misshaped"], found.summary["overall"]["J"], found.exit_code) == (1, 0.5, 1)
    assert "frame 00002: prediction: " in found.summary["misshaped_pairs"][0]["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 10, "width": 24}, "frame 00001: sizes differ: annotation 12x20, prediction 10x24"),
        ({"frame_index": 0, "frame_name": "00000"}, "1 frames have duplicate predictions"),
        ({"counts": None}, "video_id=a expression_id=e: frame 00001: column 'counts' is null"),
        ({"height": 100_000, "width": 100_000}, "sizes differ"),
    ],
)
def test_predictions_that_do_not_fit(tmp_path, change, message):
    rows = predicted("a", "e", [LEFT] * 4)
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        run(
            tmp_path,
            predictions=write(tmp_path / "p.parquet", rows, PREDICTIONS),
            annotations=annotations(tmp_path, two_objects()),
            manifest=manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
            missing="error",
        )


def test_a_pair_in_two_tables_is_refused(tmp_path):
    for name in ("1.parquet", "2.parquet"):
        folder = write(tmp_path / "p" / name, predicted("a", "e", [LEFT] * 4), PREDICTIONS)
    with pytest.raises(InputError, match=r"a expression_id=e: predicted in both .*1.parquet and .*2.parquet"):
        run(
            tmp_path,
            predictions=str(Path(folder).parent),
            annotations=annotations(tmp_path, two_objects()),
            manifest=manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
        )


def png(path, labels, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.convert(mode).save(path)


def test_label_maps_with_and_without_a_manifest(tmp_path, three_pairs):
    for frame in range(4):
        png(tmp_path / "maps" / "a" / f"{frame:05}.png", 1 * LEFT + 2 * RIGHT)
    options = {"predictions": str(tmp_path / "maps"), "annotations": annotations(tmp_path, two_objects(videos="a"))}
    objects = run(tmp_path, **options)
    assert dict(zip(objects.pairs["object_id"], objects.pairs["J"], strict=True)) == {"1": 1.0, "2": 0.75}
    expressions = run(tmp_path, **options, manifest=three_pairs)
    scores = dict(zip(expressions.pairs["expression_id"], expressions.pairs["J"], strict=True))
    assert scores == {"left": 1.0, "both": (3 + 0.5) / 4, "none": 1.0}


@pytest.mark.parametrize("broken", ["rgb", "text"])
def test_images_that_are_no_label_maps(tmp_path, broken):
    path = tmp_path / "maps" / "a" / "00000.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.dstack([LEFT * 40, LEFT * 3, LEFT]).astype(np.uint8)).save(path)
    if broken == "text":
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a/00000.png.*(mode RGB|cannot be read)"):
        run(tmp_path, predictions=str(tmp_path / "maps"), annotations=annotations(tmp_path, two_objects()))


def test_wrong_use_is_explained(tmp_path):
    truth = annotations(tmp_path, two_objects())
    predictions = write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * 4), PREDICTIONS)
    (tmp_path / "empty").mkdir()
    no_objects = manifest(tmp_path, [{**manifest_row("a", "e", None)}])
    for options, message in [
        ({"annotations": str(tmp_path / "nowhere")}, "no annotations at"),
        ({"annotations": str(tmp_path / "empty")}, "holds neither Parquet"),
        ({"predictions": str(tmp_path / "nowhere")}, "no predictions at"),
        ({"predictions": str(tmp_path / "empty")}, "no run.json"),
        ({}, "a manifest with object_ids"),
        ({"manifest": no_objects}, "a expression_id=e: object_ids is null"),
        ({"manifest": no_objects, "by": ("colour",)}, "--by colour: no such attribute"),
    ]:
        with pytest.raises(InputError, match=message):
            run(tmp_path, **{"predictions": predictions, "annotations": truth, **options})


def test_nothing_in_common(tmp_path):
    predictions = write(tmp_path / "p.parquet", predicted("z", "e", [LEFT]), PREDICTIONS)
    with pytest.raises(InputError, match="none of the pairs is annotated.*asked for: z .*annotated: a, b"):
        run(
            tmp_path,
            predictions=predictions,
            annotations=annotations(tmp_path, two_objects()),
            manifest=manifest(tmp_path, [manifest_row("z", "e", ["1"])]),
        )


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
    maps = evaluate.run(EvaluateConfig(predictions=f"{root}/maps", out=out, **common))
    assert maps.summary["frames"] == {"scored": 4, "missing": 3}
    storage.remove_folder(root)


def tree(folder: Path, frames: dict[str, list]) -> str:
    """A tree of gray PNGs: rows of values by path."""
    for name, rows in frames.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(rows, np.uint8)).save(folder / name)
    return str(folder)


def trees(tmp_path, truth: dict[str, list], predictions: dict[str, list]) -> dict:
    return {"annotations": tree(tmp_path / "gt", truth), "predictions": tree(tmp_path / "p", predictions)}


def test_binary_truth_is_one_object(tmp_path):
    found = run(tmp_path, **trees(tmp_path, {"v/0.png": [[255]]}, {"v/0.png": [[255]]}))
    assert (found.exit_code, found.summary["overall"]["J&F"]) == (0, 1.0)
    assert found.summary["masks"] == {
        "annotations": "8-bit gray: only 0 and 255, one object",
        "predictions": "8-bit gray: only 0 and 255, one object",
    }
    assert "annotations: 8-bit gray: only 0 and 255, one object" in found.text()


ONE = {"v/0.png": [[1, 0]], "v/1.png": [[1, 0]]}
TWO = {"v/0.png": [[1, 2]], "v/1.png": [[1, 2]]}


@pytest.mark.parametrize(
    ("truth", "predictions", "message"),
    [
        ({"v/0.png": [[1] * 50] * 3}, {"v/0.png": [[0] * 50] * 3}, "empty in every frame.*first is video_id=v"),
        (ONE, {"v/0000.png": [[1, 0]]}, "predicted 0000, annotated 0"),
        (ONE, {"w/0.png": [[1, 0]]}, "no requested pair is predicted; requested: video_id=v .*; predicted: video_id=w"),
        (TWO, {"v/0.png": [[7, 8]]}, r"no label of the masks is an object \(in v: 7, 8; its objects: 1, 2\).*--force"),
        (TWO, {"v/0.png": [[255, 0]]}, r"the masks show one object, but v has several \(1, 2\)"),
    ],
)
def test_implausible_input_is_scored_only_by_force(tmp_path, truth, predictions, message):
    inputs = trees(tmp_path, truth, predictions)
    with pytest.raises(ImplausibleError, match=f"(?s){message}"):
        run(tmp_path, **inputs)
    assert not (tmp_path / "out" / "summary.json").exists()
    assert run(tmp_path, force=True, **inputs).summary["warnings"]


def test_all_void_truth_is_implausible(tmp_path):
    void = [{**row, "counts": rle.encode(BOTH[None])[0]} for row in two_objects(videos="a") if row["object_id"] == "1"]
    truth = annotations(tmp_path, two_objects(videos="a"))
    names = [field.name for field in VOID]
    write(tmp_path / "void.parquet", [{name: row[name] for name in names} for row in void], VOID)
    inputs = {"predictions": write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * 4), PREDICTIONS)}
    inputs["manifest"] = manifest(tmp_path, [manifest_row("a", "e", ["1"])])
    with pytest.raises(ImplausibleError, match="show no object in any scored frame, only background and void"):
        run(tmp_path, annotations=truth, **inputs)


def test_annotations_without_objects(tmp_path):
    with pytest.raises(InputError, match="gt shows no object in any mask .*is it the ground truth"):
        run(tmp_path, **trees(tmp_path, {"v/0.png": [[0, 0]]}, {"v/0.png": [[1, 0]]}))
    truth = str(tmp_path / "none.parquet")
    pq.write_table(ANNOTATIONS.empty_table(), truth)
    with pytest.raises(InputError, match="shows no object in any mask"):
        run(tmp_path, predictions=str(tmp_path / "p"), annotations=truth)


def test_a_davis_folder_is_named(tmp_path):
    inputs = trees(tmp_path, {"Annotations/480p/v/0.png": [[1]]}, {"v/0.png": [[1]]})
    with pytest.raises(InputError, match="gt/Annotations is a DAVIS folder .*; give .*gt/Annotations/480p"):
        run(tmp_path, **inputs)


def test_a_folder_of_annotators_is_named(tmp_path):
    inputs = trees(tmp_path, {"v/0.png": [[1]]}, {"anno_0/v/0.png": [[1]], "anno_1/v/0.png": [[1]]})
    with pytest.raises(InputError, match="p has a tree for each annotator; give one of them, such as .*p/anno_0"):
        run(tmp_path, **inputs)


def test_photos_are_no_masks(tmp_path):
    truth = tree(tmp_path / "gt", {"v/0.png": [[1]]})
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    (tmp_path / "p/v").mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / "p/v/0.png")
    with pytest.raises(
        InputError, match="v/0.png: mask of mode RGB in colours that are not of the DAVIS palette; save"
    ):
        run(tmp_path, predictions=str(tmp_path / "p"), annotations=truth)


def test_a_protocol_that_drops_all_frames_is_named(tmp_path):
    inputs = trees(tmp_path, {"v/0.png": [[1]]}, {"v/0.png": [[1]]})
    with pytest.raises(InputError, match="v 1: davis-semisupervised scores none of its 1 annotated frames"):
        run(tmp_path, protocol="davis-semisupervised", **inputs)


def test_what_only_one_side_has_is_listed(tmp_path):
    truth = {"v/0.png": [[1, 2]], "v/1.png": [[1, 2]], "w/0.png": [[1, 0]]}
    found = run(tmp_path, **trees(tmp_path, truth, {"v/0.png": [[1, 3]], "v/9.png": [[1, 255]], "x/0.png": [[1, 0]]}))
    assert found.summary["only_in"] == {
        "predictions": {"videos": ["x"], "objects": [["v", "3"]], "values": [255]},
        "annotations": {"videos": ["w"], "objects": [["v", "2"]]},
    }
    assert found.summary["extra_frames"] == {
        "frames": 2,
        "pairs": [{"video_id": "v", "object_id": object_id, "frames": 1, "first": "9"} for object_id in "12"],
    }
    text = found.text()
    for line in ("videos only in the predictions: x", "objects only in the annotations: v 2", "2 predicted ones are"):
        assert line in text


def test_empty_proposals_take_part_in_the_assignment(tmp_path):
    inputs = trees(tmp_path, {"v/0.png": [[1, 2]], "v/1.png": [[0, 1]]}, {"v/0.png": [[0, 0]], "v/1.png": [[1, 1]]})
    found = run(tmp_path, protocol="ref-davis17", **inputs)
    assert found.summary["overall"]["J&F"] == 0.3125  # davis2017-evaluation


@pytest.mark.parametrize(("predicted", "expected"), [([[1, 2]], 0.5), ([[0, 2]], 1.0)])
def test_a_label_that_is_skipped_counts_as_absent(tmp_path, predicted, expected):
    found = run(tmp_path, protocol="ref-davis17", **trees(tmp_path, {"v/0.png": [[0, 2]]}, {"v/0.png": predicted}))
    assert found.summary["overall"]["J&F"] == expected  # davis2017-evaluation
    assert found.pairs["object_id"].tolist() == ["1", "2"]
    assert found.exit_code == 0


def test_gap_objects_keep_the_attributes_of_the_manifest(tmp_path):
    truth = tree(tmp_path / "gt", {"v/0.png": [[0, 2]], "v/1.png": [[0, 2]]})
    rows = [{**row, "frame_name": str(n)} for n, row in enumerate(predicted("v", "6", [LEFT[:1, :2]] * 2))]
    requested = manifest(tmp_path, [{**manifest_row("v", "6", ["2"]), "annotator": "k"}])
    found = run(
        tmp_path,
        predictions=write(tmp_path / "p.parquet", rows, PREDICTIONS),
        annotations=truth,
        manifest=requested,
        protocol="ref-davis17-strict",
        by=("annotator",),
    )
    assert found.pairs[["object_id", "annotator"]].to_numpy().tolist() == [["2", "k"], ["1", "k"]]
    assert [row["value"] for row in found.summary["by"]["annotator"]] == ["k"]


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
