"""`rvos evaluate` names what is wrong with its input, and writes no wrong scores."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.scored_tables import LEFT, annotations, manifest, manifest_row, mask_row, predicted, run, two_objects, write


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
    assert not (tmp_path / "out").exists()


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
        ({"frame_index": 0, "frame_name": "00000"}, "duplicate predictions in 1 frame;"),
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


def test_candidates_of_which_none_is_chosen_are_told(tmp_path):
    """They count as not predicted, and the reason is said."""
    rows = predicted("a", "e", [LEFT] * 4)
    options = {
        "annotations": annotations(tmp_path, two_objects()),
        "manifest": manifest(tmp_path, [manifest_row("a", name, ["1"]) for name in ("e", "f")]),
    }
    candidates = [row | {"chosen": False} for row in rows]
    with pytest.raises(InputError, match="no requested pair is predicted.*all rows of the pair have chosen = false"):
        run(tmp_path, predictions=write(tmp_path / "p.parquet", candidates, PREDICTIONS), **options)
    both = [*candidates, *predicted("a", "f", [LEFT] * 4)]
    found = run(tmp_path, predictions=write(tmp_path / "p.parquet", both, PREDICTIONS), **options)
    assert found.exit_code == 1
    assert found.summary["missing_pairs"][0]["error"].startswith("all rows of the pair have chosen = false")


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


@pytest.mark.parametrize("missing", [None, "empty", "skip"])
@pytest.mark.parametrize("count", [20, 19, 21])
def test_frames_that_are_numbered_anew_are_refused(tmp_path, count, missing):
    """Predictions 0, 1, 2 for the frames 0, 5, 10 have some names in common, and would score low without a word."""
    truth = [row | {"frame_name": f"{5 * row['frame_index']:05}"} for row in two_objects(20, ["a"])]
    options = {"annotations": annotations(tmp_path, truth), "missing": missing}
    options["manifest"] = manifest(tmp_path, [manifest_row("a", "e", ["1"])])
    predictions = write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * count), PREDICTIONS)
    reason = (
        r"expression_id=e: 1[56] of 20 annotated frames are not predicted, and 1[567] predicted ones are not annotated"
    )
    with pytest.raises(
        InputError, match=rf"{reason} \(predicted 00001, annotated 0002[05]\); name each mask as its frame"
    ):
        run(tmp_path, predictions=predictions, **options)
    assert run(tmp_path, predictions=predictions, force=True, **options).summary["frames"]["missing"] in (15, 16)


def test_predictions_of_some_frames_are_no_other_names(tmp_path):
    """Of the first half of a video, in all its frames, of which every fifth is annotated."""
    truth = [row | {"frame_name": f"{5 * row['frame_index']:05}"} for row in two_objects(20, ["a"])]
    options = {
        "annotations": annotations(tmp_path, truth),
        "manifest": manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
    }
    for count in (50, 36, 5):
        predictions = write(tmp_path / "p.parquet", predicted("a", "e", [LEFT] * count), PREDICTIONS)
        if count == 5:
            predictions = write(
                tmp_path / "p.parquet",
                [row for row in predicted("a", "e", [LEFT] * 30) if row["frame_index"] % 5 == 0],
                PREDICTIONS,
            )
        assert run(tmp_path, predictions=predictions, **options).summary["frames"]["missing"]


@pytest.mark.parametrize("kind", [int, float])
def test_ids_that_are_whole_numbers(tmp_path, kind):
    """As pandas writes them: 1.0 where a column had gaps."""
    options = {"annotations": annotations(tmp_path, two_objects())}
    options["manifest"] = manifest(tmp_path, [manifest_row("a", "7", ["1"])])
    expected = run(
        tmp_path, predictions=write(tmp_path / "p.parquet", predicted("a", "7", [LEFT] * 4), PREDICTIONS), **options
    )
    rows = [row | {"expression_id": kind(7)} for row in predicted("a", "7", [LEFT] * 4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "n.parquet")
    found = run(tmp_path, predictions=str(tmp_path / "n.parquet"), **options)
    assert found.summary["overall"] == expected.summary["overall"]


def test_predictions_without_a_mask_at_all(tmp_path):
    """An empty table is no prediction of anything, which would score 0."""
    pq.write_table(PREDICTIONS.empty_table(), tmp_path / "p.parquet")
    options = {
        "predictions": str(tmp_path / "p.parquet"),
        "annotations": annotations(tmp_path, two_objects()),
        "manifest": manifest(tmp_path, [manifest_row("a", "e", ["1"])]),
    }
    with pytest.raises(InputError, match="requested: video_id=a expression_id=e; the predictions hold no masks"):
        run(tmp_path, **options)
    assert run(tmp_path, force=True, **options).summary["overall"]["J&F"] == 0
