"""Each protocol against what the published code gives, or against a case done by hand."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.evaluation.protocols import PROTOCOLS
from schemas import rle
from schemas.errors import InputError
from tests.scored_tables import run

close = lambda value: pytest.approx(value, abs=1e-12)  # noqa: E731


def rename(table, **names):
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def write(path, table):
    pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pylist(table), path)
    return str(path)


@pytest.mark.parametrize("frames", ["all_frames", "skip_first_last"])
def test_davis_tracks(recordings, tmp_path, monkeypatch, frames):
    name = "davis-semisupervised"
    if frames == "all_frames":
        monkeypatch.setitem(PROTOCOLS, name, replace(PROTOCOLS[name], inner_frames=False))
    options = {
        "predictions": str(recordings / "pred.parquet"),
        "annotations": str(recordings / "gt.parquet"),
    }
    found = run(tmp_path, protocol=name, **options)
    expected = json.loads((recordings / "expected_tracks.json").read_text())
    rows = {(row["video_id"], row["expression_id"]): row for row in found.pairs.to_dict("records")}
    decay = "decay_wide_index"
    for track in expected["tracks"]:
        if track["frames"] < 3 and frames == "skip_first_last":
            assert (track["video_id"], track["expression_id"]) not in rows
            continue
        row = rows[track["video_id"], track["expression_id"]]
        for metric in "JF":
            wanted = track[frames][metric]
            assert row[metric] == close(wanted["mean"])
            assert row[f"{metric}-recall"] == close(wanted["recall"])
            value = row[f"{metric}-decay"]
            assert (None if np.isnan(value) else value) == (None if wanted[decay] is None else close(wanted[decay]))
    overall, means = found.summary["overall"], expected["global_mean_over_tracks"][frames]
    assert overall["n"] == means["tracks"]
    assert overall["J&F"] == close(means["J&F_mean"])
    for metric in "JF":
        assert overall[f"{metric}-recall"] == close(means[f"{metric}_recall"])
        assert overall[f"{metric}-decay"] == close(means[f"{metric}_{decay}"])


@pytest.fixture
def ref_davis(recordings, tmp_path):
    predictions = pq.read_table(recordings / "refdavis_pred.parquet").to_pylist()
    pairs = {}
    for row in predictions:
        annotator, object_id = row.pop("annotator"), row.pop("object_id")
        row["expression_id"] = str((int(object_id) - 1) * 4 + int(annotator[-1]))
        pairs[row["video_id"], row["expression_id"]] = (annotator, object_id)
    for video, object_id in {(video, object_id) for (video, _), (_, object_id) in pairs.items() if object_id in "123"}:
        for k in range(4):  # an annotator may lack an object altogether
            pairs.setdefault((video, str((int(object_id) - 1) * 4 + k)), (f"anno_{k}", object_id))
    manifest = [
        {
            "video_id": video,
            "video_uri": video,
            "expression_id": e,
            "expression": "x",
            "object_ids": [o],
            "annotator": a,
        }
        for (video, e), (a, o) in sorted(pairs.items())
    ]
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "annotations.parquet", pq.read_table(recordings / "refdavis_gt.parquet"))
    write(tmp_path / "data" / "void.parquet", pq.read_table(recordings / "refdavis_void.parquet"))
    expected = json.loads((recordings / "refdavis_expected.json").read_text())
    return {
        "predictions": write(tmp_path / "p.parquet", predictions),
        "annotations": str(tmp_path / "data"),
        "manifest": write(tmp_path / "manifest.parquet", manifest),
    }, expected


def same_as_davis(row, expected):
    assert row["J&F"] == close(expected["J&F"])
    for metric in "JF":
        names = (metric, f"{metric}-recall", f"{metric}-decay")
        assert [row[name] for name in names] == close([expected[metric][part] for part in "MRD"])


def test_ref_davis17(ref_davis, tmp_path):
    options, expected = ref_davis
    found = run(tmp_path, protocol="ref-davis17", by=("annotator",), **options)
    for row in found.summary["by"]["annotator"]:
        same_as_davis(row, expected[row["value"]]["unsupervised"])
    published = np.mean([expected[f"anno_{k}"]["unsupervised"]["J&F"] for k in range(4)])
    assert found.summary["overall"]["J&F"] == close(published)
    without = pq.read_table(options["manifest"]).drop_columns("annotator")
    derived = run(tmp_path, protocol="ref-davis17", **options | {"manifest": write(tmp_path / "w.parquet", without)})
    assert derived.summary["overall"]["J&F"] == close(published)


def test_ref_davis17_strict_and_semisupervised(ref_davis, tmp_path):
    options, expected = ref_davis
    strict = run(tmp_path, protocol="ref-davis17-strict", by=("annotator",), **options)
    values = {row["value"]: row["J&F"] for row in strict.summary["by"]["annotator"]}
    assert values["anno_0"] == close(expected["anno_0"]["unsupervised"]["J&F"])  # its ids are right
    assert values["anno_1"] < expected["anno_1"]["unsupervised"]["J&F"] - 0.2  # and these swapped
    semi = run(tmp_path, protocol="davis-semisupervised", by=("annotator",), **options)
    for row in semi.summary["by"]["annotator"]:
        if row["value"] != "anno_3":
            same_as_davis(row, expected[row["value"]]["semi-supervised"])


def test_ref_davis17_with_label_maps_that_have_a_label_too_many(tmp_path):
    left, right = np.zeros((2, 20, 30), bool)
    left[4:12, 3:12] = right[5:15, 15:25] = True
    for tree, values in (("truth", (1, 2)), ("found", (3, 1))):
        for frame in range(3):
            path = tmp_path / tree / "a" / f"{frame:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            labels = values[0] * left + values[1] * right
            labels[0, :2] = 2 if tree == "found" else 0
            Image.fromarray(labels.astype(np.uint8)).save(path)
    options = {"predictions": str(tmp_path / "found"), "annotations": str(tmp_path / "truth")}
    assert run(tmp_path, protocol="ref-davis17", **options).summary["overall"]["J&F"] == 1.0
    assert run(tmp_path, protocol="ref-davis17-strict", **options).summary["overall"]["J"] == 0.0


def test_an_object_that_enters_late_with_a_higher_label_does_not_count(tmp_path):
    for frame in range(4):
        path = tmp_path / "truth" / "a" / f"{frame:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.ones((8, 8), np.uint8)
        labels[4:] = 3 if frame > 1 else 0
        Image.fromarray(labels).save(path)
    options = {"predictions": str(tmp_path / "truth"), "annotations": str(tmp_path / "truth")}
    found = run(tmp_path, protocol="davis-semisupervised", **options)
    assert found.pairs["object_id"].tolist() == ["1"]
    assert found.summary["pairs"]["unannotated"] == 1
    assert run(tmp_path, **options).summary["overall"]["n"] == 2


@pytest.mark.parametrize("annotator", ["0", "1"])
def test_a_pair_about_a_label_that_no_frame_shows(tmp_path, annotator):
    """Label 1 of two is absent throughout: what is predicted for it is wrong, and it counts for every annotator."""
    truth = [{**row("v", "", frame, 6), "object_id": "2"} for frame in range(2)]
    for one in truth:
        del one["expression_id"]
    pairs = [pair("v", "4", ["2"]), pair("v", "5", ["2"]), pair("v", annotator, ["1"])]
    manifest = [one | {"annotator": str(int(one["expression_id"]) % 4)} for one in pairs]
    predictions = [row("v", expression, frame, 6) for expression in ("4", "5") for frame in range(2)]
    found = run(
        tmp_path,
        protocol="ref-davis17-strict",
        by=("annotator",),
        predictions=write(tmp_path / "p.parquet", [*predictions, row("v", annotator, 0, 3)]),
        annotations=write(tmp_path / "a.parquet", truth),
        manifest=write(tmp_path / "m.parquet", manifest),
    )
    assert found.pairs.set_index("expression_id")["J"].to_dict() == {
        "4": 1.0, "5": 1.0, annotator: 0.5, "object 1": 1.0,
    }  # fmt: skip
    assert found.summary["overall"]["n"] == 4


@pytest.fixture
def mevis(recordings, tmp_path):
    videos = json.loads((recordings / "mevis_meta_expressions.json").read_text())["videos"]
    manifest = [
        {
            "video_id": video,
            "video_uri": video,
            "expression_id": e,
            "expression": expression["exp"],
            "object_ids": [str(object_id) for object_id in expression["anno_id"]],
            "type_id": expression["type_id"],
        }
        for video, content in videos.items()
        for e, expression in content["expressions"].items()
    ]
    (tmp_path / "data").mkdir()
    objects = rename(pq.read_table(recordings / "mevis_objects.parquet"), anno_id="object_id")
    write(tmp_path / "data" / "annotations.parquet", objects)
    return {
        "predictions": str(recordings / "mevis_pred.parquet"),
        "annotations": str(tmp_path / "data"),
        "manifest": write(tmp_path / "manifest.parquet", manifest),
    }, json.loads((recordings / "mevis_expected.json").read_text())


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ("mevis", {"J": "J", "F": "F"}),
        ("ref-youtube-vos", {"J": "J", "F": "F"}),
        ("revos", {"J": "J", "F": "F", "A": "revos_A", "R": "revos_R"}),
        ("long-rvos", {"J": "long_rvos_J", "F": "long_rvos_F", "tIoU": "tIoU", "vIoU": "vIoU"}),
    ],
)
def test_expressions_with_several_objects(recordings, mevis, tmp_path, protocol, names):
    options, expected = mevis
    if protocol == "revos":
        write(tmp_path / "data" / "foreground.parquet", pq.read_table(recordings / "revos_foreground.parquet"))
    found = run(tmp_path, protocol=protocol, by=("type_id",), **options)
    rows = {f"{row['video_id']}_{row['expression_id']}": row for row in found.pairs.to_dict("records")}
    for key, wanted in expected["per_expression"].items():
        assert [rows[key][name] for name in names] == close([wanted[name] for name in names.values()])
    if protocol == "revos":  # the mean of the means of the two kinds
        kinds = found.summary["by"]["type_id"]
        assert found.summary["overall"]["R"] == close(np.mean([row["R"] for row in kinds]))
    else:
        means = expected["mean_over_expressions"]
        for name, wanted in names.items():
            assert found.summary["overall"][name] == close(means[wanted])


def test_revos_leaves_out_expressions_without_a_target(mevis, tmp_path):
    """`type_id` 2, which the published script has in no mean."""
    options, _ = mevis
    rows = pq.read_table(options["manifest"]).to_pylist()
    other = [number for number, row in enumerate(rows) if row["type_id"] == 0][:2]
    for number in other:
        rows[number] |= {"type_id": 2, "object_ids": []}
    write(tmp_path / "manifest.parquet", rows)
    found = run(tmp_path, protocol="revos", by=("type_id",), **options)
    kinds = found.summary["by"]["type_id"]
    assert [row["value"] for row in kinds] == [0, 1]
    assert found.summary["overall"]["n"] == sum(row["n"] for row in kinds) == len(rows) - 2
    assert found.summary["overall"]["J"] == close(np.mean([row["J"] for row in kinds]))
    assert "2 pairs are excluded by their type_id; all-frames includes them" in found.summary["warnings"]
    assert run(tmp_path, **options).summary["overall"]["n"] == len(rows)
    write(tmp_path / "manifest.parquet", [row | {"type_id": None if row["type_id"] == 2 else "1"} for row in rows])
    assert run(tmp_path, protocol="revos", **options).summary["overall"]["n"] == len(rows) - 2
    write(tmp_path / "manifest.parquet", [row | {"type_id": 2} for row in rows])
    with pytest.raises(InputError, match="no pair has type_id 0 or 1"):
        run(tmp_path, protocol="revos", **options)


def test_revos_without_foreground_has_no_r(mevis, tmp_path):
    options, _ = mevis
    found = run(tmp_path, protocol="revos", **options)
    assert "A" in found.summary["overall"]
    assert "R" not in found.summary["overall"]


def mask(pixels, size=(4, 6)):
    flat = np.zeros(size[0] * size[1], bool)
    flat[:pixels] = True
    return rle.encode(flat.reshape(1, *size))[0]


def row(video, expression, frame, pixels, **more):
    place = {"frame_index": frame, "height": 4, "width": 6, "counts": mask(pixels)}
    return {"video_id": video, "expression_id": expression, **place, **more}


def pair(video, expression, objects):
    return {"video_id": video, "video_uri": "v", "expression_id": expression, "expression": "x", "object_ids": objects}


def test_no_target_accuracies_by_hand(tmp_path):
    """GRES: a pair without target is right if nothing is predicted, one with a target if anything is."""
    truth = [{"video_id": "v", "object_id": "1", **row("v", "", f, 6)} for f in range(2)]
    for one in truth:
        del one["expression_id"]
    pairs = [pair("v", "none-right", []), pair("v", "none-wrong", []), pair("v", "none-lost", [])]
    pairs += [pair("v", "one-right", ["1"]), pair("v", "one-silent", ["1"])]
    predictions = [
        *[row("v", "none-right", f, 0) for f in range(2)],
        *[row("v", "none-wrong", f, 24 * f) for f in range(2)],  # a full frame has no boundary: F is 0 all the same
        *[row("v", "one-right", f, 6 * f) for f in range(2)],
        *[row("v", "one-silent", f, 0) for f in range(2)],
    ]
    found = run(
        tmp_path,
        protocol="mevis",
        predictions=write(tmp_path / "p.parquet", predictions),
        annotations=write(tmp_path / "a.parquet", truth),
        manifest=write(tmp_path / "m.parquet", pairs),
    )
    overall = found.summary["overall"]
    assert (overall["N-acc"], overall["T-acc"]) == (close(1 / 3), 0.5)
    assert overall["J"] == overall["F"] == close((1 + 0.5 + 0 + 0.5 + 0) / 5)


@pytest.fixture
def a2d(recordings, tmp_path):
    def adapt(name):
        table = rename(pq.read_table(recordings / name), image_id="video_id")
        same = {"expression_id": pa.repeat("0", len(table)), "frame_index": pa.array([0] * len(table), pa.int32())}
        for column, values in same.items():
            table = table.append_column(column, values)
        return table

    found = adapt("a2d_pred.parquet")
    predictions = found.append_column("query", pa.array(range(len(found)), pa.int32()))
    return {
        "predictions": write(tmp_path / "p.parquet", predictions),
        "annotations": write(tmp_path / "a.parquet", adapt("a2d_gt.parquet")),
    }, json.loads((recordings / "a2d_expected.json").read_text())


def test_one_candidate_per_frame_is_noted_for_map(a2d, tmp_path):
    options, _ = a2d
    found = run(tmp_path, protocol="a2d", **options).summary
    assert found["protocol_confirmed"]
    assert not any("mAP" in text for text in found["warnings"])
    table = pq.read_table(options["predictions"])
    rows = list({(row["video_id"], row["expression_id"]): row for row in table.to_pylist()}.values())
    options["predictions"] = write(tmp_path / "one.parquet", pa.Table.from_pylist(rows, schema=table.schema))
    found = run(tmp_path, protocol="a2d", **options).summary
    assert not found["protocol_confirmed"]
    assert any("mAP is not the published one" in text for text in found["warnings"])


@pytest.mark.parametrize("protocol", ["a2d", "jhmdb"])
def test_a2d_and_jhmdb(a2d, tmp_path, protocol):
    options, expected = a2d
    overall = run(tmp_path, protocol=protocol, **options).summary["overall"]
    official, coco = expected["official"], expected["coco"]
    assert overall["n"] == expected["n"]
    for k in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert overall[f"P@{k}"] == close(official[f"P@{k}"])
    assert overall["overall IoU"] == pytest.approx(official["overall_iou"], abs=1e-9)
    assert overall["mean IoU"] == pytest.approx(official["mean_iou"], abs=1e-9)
    names = {"mAP": "mAP 0.5:0.95", "AP@0.5": "AP 0.5", "AP@0.75": "AP 0.75"}
    names |= {f"AP {size}": f"AP 0.5:0.95 {size[0].upper()}" for size in ("small", "medium", "large")}
    found = [-1.0 if overall[name] is None else overall[name] for name in names]  # COCO's value for none
    assert found == pytest.approx([coco[name] for name in names.values()], abs=1e-9)


def test_a2d_frames_without_the_instance_do_not_count_and_frames_weigh_the_same(tmp_path):
    truth = [row("a", "0", 0, 6), row("a", "0", 1, 0), row("a", "0", 2, 6), row("b", "0", 0, 6)]
    found = [row("a", "0", 0, 6), row("a", "0", 1, 9), row("a", "0", 2, 12), row("b", "0", 0, 0)]
    overall = run(
        tmp_path,
        protocol="a2d",
        predictions=write(tmp_path / "p.parquet", found),
        annotations=write(tmp_path / "a.parquet", truth),
    ).summary["overall"]
    assert (overall["P@0.6"], overall["mean IoU"]) == (close(1 / 3), pytest.approx(1.5 / 3, abs=1e-6))
    assert overall["overall IoU"] == close(12 / 24)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("zero", 0.5), ("empty", 0.75), ("skip", 1.0), ("error", "not fully predicted: 2 pairs")],
)
def test_what_is_missing(tmp_path, missing, expected):
    """Of four frames two are not predicted, and one of these is empty in truth; another pair is missing."""
    truth = [row("a", "0", frame, 0 if frame == 3 else 6) for frame in range(4)]
    truth += [row("b", "0", frame, 0 if frame == 3 else 6) for frame in range(4)]
    options = {
        "predictions": write(tmp_path / "p.parquet", [row("a", "0", frame, 6) for frame in range(2)]),
        "annotations": write(tmp_path / "a.parquet", truth),
        "missing": missing,
    }
    if missing == "error":
        with pytest.raises(InputError, match=expected):
            run(tmp_path, **options)
        return
    found = run(tmp_path, **options)
    assert found.pairs["J"][0] == expected
    assert found.summary["overall"]["n"] == (1 if missing == "skip" else 2)
    assert found.summary["pairs"]["missing"] == 1
    assert f"missing   {missing}: " in found.text()


def test_trees_by_expression_as_predictions_and_as_truth(tmp_path):
    rng = np.random.default_rng(1)
    for video, expression, frame in [(v, e, f) for v in "ab" for e in "01" for f in (0, 5, 10)]:
        path = tmp_path / "tree" / "Annotations" / video / expression / f"{frame:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * (rng.random((9, 12)) < 0.5)).astype(np.uint8)).save(path)
    tree = str(tmp_path / "tree")
    same = run(tmp_path, predictions=tree, annotations=tree)
    assert (same.summary["overall"]["n"], same.summary["overall"]["J&F"]) == (4, 1.0)
    (tmp_path / "tree" / "Annotations" / "a" / "1" / "00005.png").unlink()
    manifest = write(tmp_path / "m.parquet", [pair("a", "0", None), pair("a", "1", None), pair("b", "9", None)])
    found = run(tmp_path, predictions=tree, annotations=tree, manifest=manifest)
    assert found.summary["pairs"] | {"scored": 2, "unannotated": 1, "extra": 2} == found.summary["pairs"]


def test_a_run_with_all_candidates_is_scored_by_the_best_of_each_frame(tmp_path):
    truth = write(tmp_path / "a.parquet", [row("a", "0", frame, 6) for frame in range(2)])
    found = [row("a", "0", 0, 3, score=0.1, query=0), row("a", "0", 0, 6, score=0.9, query=1)]
    found += [row("a", "0", 1, 3, score=0.4, query=0), row("a", "0", 1, 6, score=0.5, query=1)]
    options = {"annotations": truth, "predictions": write(tmp_path / "p.parquet", found)}
    assert run(tmp_path, **options).summary["overall"]["J"] == 1.0
    assert run(tmp_path, protocol="a2d", **options).summary["overall"]["mAP"] == pytest.approx(1.0)


def test_tables_of_many_row_groups(recordings, tmp_path):
    predictions, truth = (pq.read_table(recordings / name) for name in ("pred.parquet", "gt.parquet"))
    small = pc.less(truth["height"], 500)  # the tables have the same rows
    predictions, truth = predictions.filter(small), truth.filter(small)
    for name, size in (("one", 10_000), ("many", 50)):
        pq.write_table(predictions, tmp_path / f"{name}.parquet", row_group_size=size)
    annotations = write(tmp_path / "gt.parquet", truth)
    one, many = (
        run(tmp_path, predictions=str(tmp_path / f"{name}.parquet"), annotations=annotations)
        for name in ("one", "many")
    )
    assert one.summary["overall"] == many.summary["overall"]
