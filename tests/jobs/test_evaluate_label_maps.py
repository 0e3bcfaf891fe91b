"""`rvos evaluate` on trees of label maps: what is taken for what, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import import_dataset
from pipeline.masks.annotations import BY_EXPRESSION
from schemas import rle
from schemas.errors import ImplausibleError, InputError
from schemas.masks import ANNOTATIONS, PREDICTIONS, VOID
from tests.scored_tables import (
    BOTH,
    LEFT,
    RIGHT,
    annotations,
    manifest,
    manifest_row,
    mask_row,
    predicted,
    run,
    two_objects,
    write,
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


@pytest.mark.parametrize("broken", ["rgb", "text"])
def test_images_that_are_no_label_maps(tmp_path, broken):
    path = tmp_path / "maps" / "a" / "00000.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.dstack([LEFT * 40, LEFT * 3, LEFT]).astype(np.uint8)).save(path)
    if broken == "text":
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a/00000.png.*(mode RGB|cannot be read)"):
        run(tmp_path, predictions=str(tmp_path / "maps"), annotations=annotations(tmp_path, two_objects()))


def tree(folder: Path, frames: dict[str, list]) -> str:
    """A tree of gray PNGs: rows of values by path."""
    for name, rows in frames.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(rows, np.uint8)).save(folder / name)
    return str(folder)


def trees(tmp_path, truth: dict[str, list], predictions: dict[str, list]) -> dict:
    return {"annotations": tree(tmp_path / "gt", truth), "predictions": tree(tmp_path / "p", predictions)}


def test_binary_truth_is_one_object(tmp_path):
    found = run(tmp_path, **trees(tmp_path, {"v/0.png": [[255, 0]]}, {"v/0.png": [[255, 0]]}))
    assert (found.exit_code, found.summary["overall"]["J&F"]) == (0, 1.0)
    assert found.summary["masks"] == {
        "annotations": "8-bit gray: only 0 and 255, one object",
        "predictions": "8-bit gray: only 0 and 255, one object",
    }
    assert "annotations: 8-bit gray: only 0 and 255, one object" in found.text()


def test_one_tree_may_mix_forms(tmp_path):
    truth = {"a/0.png": [[1, 0]], "b/0.png": [[1, 0]]}
    found = run(tmp_path, **trees(tmp_path, truth, {"a/0.png": [[1, 0]], "b/0.png": [[255, 0]]}))
    assert (found.exit_code, found.summary["overall"]["J&F"]) == (0, 1.0)
    assert (
        "of another form: 1, the first is b (8-bit gray: only 0 and 255, one object)"
        in found.summary["masks"]["predictions"]
    )


ONE = {"v/0.png": [[1, 0]], "v/1.png": [[1, 0]]}


TWO = {"v/0.png": [[1, 2]], "v/1.png": [[1, 2]]}


@pytest.mark.parametrize(
    ("truth", "predictions", "message"),
    [
        ({"v/0.png": [[1] * 50] * 3}, {"v/0.png": [[0] * 50] * 3}, "empty in every frame.*first is video_id=v"),
        (ONE, {"v/0000.png": [[1, 0]]}, "predicted 0000, annotated 0"),
        (
            ONE,
            {"v/1.png": [[1, 0]], "v/2.png": [[1, 0]]},
            r"predicted frames differ by \+1 from .* \(2 is not annotated",
        ),
        (ONE, {"w/0.png": [[1, 0]]}, "no requested pair is predicted; requested: video_id=v .*; predicted: video_id=w"),
        (TWO, {"v/0.png": [[7, 8]]}, r"no label of the masks is an object \(in v: 7, 8; its objects: 1, 2\).*--force"),
        (
            TWO,
            {"v/0.png": [[2, 3, 3, 3, 1]]},
            r"no pixel of the masks is 0, the background \(in v: 1, 2, 3; its obj.*: 1, 2\)",
        ),
        (TWO, {"v/0.png": [[1, 255, 255], [0, 255, 255]]}, r"255 \(void\) covers 67% of the masks of v; save the back"),
        (TWO, {"v/0.png": [[255, 0]]}, r"the masks show one object, but v has several \(1, 2\)"),
    ],
)
def test_implausible_input_is_scored_only_by_force(tmp_path, truth, predictions, message):
    inputs = trees(tmp_path, truth, predictions)
    with pytest.raises(ImplausibleError, match=f"(?s){message}"):
        run(tmp_path, **inputs)
    assert not (tmp_path / "out" / "summary.json").exists()
    assert run(tmp_path, force=True, **inputs).summary["warnings"]


def test_a_video_whose_label_maps_show_no_object_is_annotated(tmp_path):
    """A sentence about nothing is scored there; a tree without any object is no truth."""
    inputs = trees(tmp_path, {"v/0.png": [[1, 0]], "w/0.png": [[0, 0]]}, {"v/0.png": [[1, 0]], "w/0.png": [[0, 0]]})
    inputs["manifest"] = manifest(tmp_path, [manifest_row("v", "e", ["1"]), manifest_row("w", "e", [])])
    found = run(tmp_path, **inputs)
    assert found.pairs["status"].tolist() == ["scored", "scored"]
    assert found.summary["overall"]["N-acc"] == 1.0
    inputs["annotations"] = tree(tmp_path / "empty", {"v/0.png": [[0, 0]], "w/0.png": [[0, 0]]})
    with pytest.raises(InputError, match="the annotations show no object in any frame"):
        run(tmp_path, **inputs)


TRUTHS = {
    "255 for both objects": ([[255, 255, 0]], "the masks show one object, but v has several .1, 2."),
    "the background is 1": ([[2, 3, 1, 1, 1, 1]], "no pixel of the masks is 0, the background"),
    "other ids": ([[40, 80, 1, 1, 0, 0]], "most labels of the masks are no objects .in v: 1, 40, 80; its objects: "),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_truth_whose_labels_are_not_the_objects_of_the_manifest_is_implausible(tmp_path, name):
    values, reason = TRUTHS[name]
    inputs = trees(tmp_path, {"v/0.png": values}, {"v/0.png": [[1, 2] + [0] * (len(values[0]) - 2)]})
    rows = [manifest_row("v", name, [name]) for name in ("1", "2", "3")[: 3 if name == "other ids" else 2]]
    inputs["manifest"] = manifest(tmp_path, rows)
    with pytest.raises(ImplausibleError, match=f"gt: {reason}"):
        run(tmp_path, **inputs)
    assert run(tmp_path, **inputs, force=True).summary["warnings"]


def test_truth_in_a_table_whose_ids_are_shifted_is_implausible(tmp_path):
    """Ids from 2 on, where the manifest counts from 1: each sentence would be compared with the next object."""
    rows = [{**row, "object_id": str(int(row["object_id"]) + 1)} for row in two_objects(videos="ab")]
    inputs = {"annotations": annotations(tmp_path, rows)}
    masks = [*predicted("a", "1", [LEFT] * 4), *predicted("b", "1", [LEFT] * 4)]
    inputs["predictions"] = write(tmp_path / "p.parquet", masks, PREDICTIONS)
    pairs = [manifest_row(video, name, [name]) for video in "ab" for name in ("1", "2")]
    inputs["manifest"] = manifest(tmp_path, pairs)
    with pytest.raises(ImplausibleError, match=r"differ by \+1 from the objects .in a: 2, 3; its objects: 1, 2"):
        run(tmp_path, **inputs)
    assert run(tmp_path, **inputs, force=True).summary["warnings"]


def test_truth_of_void_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match="every pixel is 255; save the background as 0 and each object as its id"):
        run(tmp_path, **trees(tmp_path, {"v/0.png": [[255, 255]]}, {"v/0.png": [[1, 0]]}))


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


def by_expression(tmp_path, objects: dict[str, list[str] | None], labels: dict[str, list]) -> dict:
    """Truth by expression, whose ids are those of other objects, a manifest, and label maps as predictions."""
    truth = {"left": LEFT, "right": RIGHT, "both": BOTH}
    rows = [
        mask_row("v", frame, truth[place], expression_id=name)
        for name, place in (("2", "left"), ("1", "right"), ("e", "both"))
        for frame in range(2)
    ]
    return {
        "annotations": annotations(tmp_path, rows, BY_EXPRESSION),
        "manifest": manifest(tmp_path, [manifest_row("v", name, ids) for name, ids in objects.items()]),
        "predictions": tree(tmp_path / "p", labels),
    }


def labels_of(left: int, right: int) -> dict[str, list]:
    return {f"v/{frame:05}.png": (LEFT * left + RIGHT * right).tolist() for frame in range(2)}


OBJECTS: dict[str, list[str] | None] = {"2": ["1"], "1": ["2"], "e": ["1", "2"]}


@pytest.mark.parametrize("protocol", ["all-frames", "mevis", "ref-davis17-strict"])
def test_label_maps_are_matched_by_the_objects_of_each_expression(tmp_path, protocol):
    inputs = by_expression(tmp_path, OBJECTS, labels_of(1, 2))
    for name in ("1", "2", "e"):
        one = {**inputs, "manifest": manifest(tmp_path, [{**manifest_row("v", name, OBJECTS[name]), "annotator": "k"}])}
        found = run(tmp_path, protocol=protocol, **one)
        assert (found.exit_code, found.summary["overall"]["J&F"]) == (0, 1.0)


def test_label_maps_by_expression_say_what_only_one_side_has(tmp_path):
    found = run(tmp_path, **by_expression(tmp_path, OBJECTS, labels_of(1, 3)))
    assert dict(zip(found.pairs["expression_id"], found.pairs["J"], strict=True)) == {"2": 1.0, "1": 0.0, "e": 0.5}
    assert found.summary["only_in"]["predictions"]["objects"] == [["v", "3"]]
    assert found.summary["only_in"]["annotations"]["objects"] == [["v", "2"]]


@pytest.mark.parametrize(
    ("objects", "labels", "message"),
    [
        (OBJECTS, (2, 3), r"all labels of the masks differ by \+1 from the objects \(in v: 2, 3; its objects: 1, 2\)"),
        (OBJECTS, (7, 8), r"no label of the masks is an object \(in v: 7, 8; its objects: 1, 2\).*--force"),
        ({"2": ["cat"], "1": ["dog"]}, (1, 2), r"no label .* \(in v: 1, 2; its objects: cat, dog\)"),
        (
            dict.fromkeys(OBJECTS),
            (1, 2),
            "expression_id=2: object_ids is null, but the predictions are label maps of o",
        ),
    ],
)
def test_labels_that_are_no_objects_of_the_expressions(tmp_path, objects, labels, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        run(tmp_path, **by_expression(tmp_path, objects, labels_of(*labels)))


def test_label_maps_of_the_one_object_of_each_video(tmp_path):
    inputs = by_expression(tmp_path, {"2": ["cat"]}, labels_of(1, 0))
    found = run(tmp_path, **inputs)
    assert (found.exit_code, found.summary["overall"]["J&F"]) == (0, 1.0)
    assert "taken as the one object of each video" in found.summary["masks"]["predictions"]


def test_one_video_with_labels_of_another_numbering_is_enough(tmp_path):
    truth = {"v/0.png": [[1, 2]], "w/0.png": [[3, 4]]}
    inputs = trees(tmp_path, truth, {"v/0.png": [[1, 2]], "w/0.png": [[1, 2]]})
    with pytest.raises(ImplausibleError, match=r"no label of the masks is an object \(in w: 1, 2; its objects: 3, 4\)"):
        run(tmp_path, **inputs)


def test_ids_of_expressions_that_are_not_annotated(tmp_path):
    inputs = by_expression(tmp_path, {"9": ["1"]}, labels_of(1, 2))
    with pytest.raises(InputError, match="none of the pairs is annotated; asked for: v 9 .*; annotated in v: 1, 2, e"):
        run(tmp_path, **inputs)
