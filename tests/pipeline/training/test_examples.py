"""What is trained on: manifest, annotations and videos brought together, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.training.examples import TrainingSource, gather_examples
from schemas import rle
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS, PREDICTIONS

SIZE = (40, 60)


def box(left: int) -> bytes:
    mask = np.zeros((1, *SIZE), bool)
    mask[0, 10:20, left : left + 10] = True
    return rle.encode(mask)[0]


@pytest.fixture
def folder(tmp_path):
    """A video of six frames, two objects: one in all frames but the last, one annotated in frame 3 alone."""
    (tmp_path / "v").mkdir()
    for index in range(6):
        Image.new("RGB", SIZE[::-1], (index * 20, 90, 90)).save(tmp_path / "v" / f"{index:05d}.jpg")
    write_manifest(tmp_path)
    rows = [("a", i, box(5 * i) if i < 5 else None) for i in range(6)] + [("b", 3, box(40))]
    write_annotations(tmp_path, rows)
    return tmp_path


def write_manifest(folder, **changes):
    rows = [
        {"expression_id": "0", "expression": "The  left BOX", "object_ids": ["a"]},
        {"expression_id": "1", "expression": "the far box", "object_ids": ["b"]},
        {"expression_id": "2", "expression": "both", "object_ids": ["a", "b"]},
        {"expression_id": "3", "expression": "none", "object_ids": []},
        {"expression_id": "4", "expression": "unknown", "object_ids": ["c"]},
    ]
    table = pa.Table.from_pylist([{"video_id": "v", "video_uri": "v", **row, **changes} for row in rows])
    pq.write_table(table, folder / "manifest.parquet")


def write_annotations(folder, rows, size=SIZE):
    table = pa.Table.from_pylist(
        [
            {"video_id": "v", "object_id": who, "frame_index": i, "height": size[0], "width": size[1], "counts": counts}
            for who, i, counts in rows
        ],
        schema=ANNOTATIONS,
    )
    pq.write_table(table, folder / "annotations.parquet")


def gather(folder, annotations="annotations.parquet", **options):
    source = TrainingSource(manifest=str(folder / "manifest.parquet"), annotations=str(folder / annotations), **options)
    return gather_examples([source])


def test_rows_that_can_teach_become_examples(folder):
    examples, left_out = gather(folder)
    found = {row["expression"]: row for row in examples.to_pylist()}
    assert left_out == {"not annotated": 1}
    assert list(found) == ["the left box", "the far box", "both", "none"]
    assert found["the left box"]["annotated"] == found["the left box"]["frames"] == list(range(6))
    assert found["the left box"]["counts"][-1] is None
    assert found["the far box"]["annotated"] == [3]
    union = rle.decode(found["both"]["counts"][3], *SIZE)
    assert union.sum() == 200
    assert found["none"]["annotated"] == found["both"]["annotated"]
    assert not any(found["none"]["counts"])


def test_frames_and_target_frames_limit_an_example(folder):
    write_manifest(folder, frame_indices=[1, 2, 3, 5], target_frames=["00003"])
    examples, _ = gather(folder)
    row = examples.to_pylist()[0]
    assert (row["frames"], row["annotated"]) == ([1, 2, 3, 5], [3])


def test_a_run_is_pseudo_labels_selected_by_score(folder):
    run = folder / "run"
    (run / "masks").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"fingerprint": "f"}))
    common = {"video_id": "v", "frame_name": "00000", "height": SIZE[0], "width": SIZE[1], "status": "ok"}
    rows = [
        common | {"expression_id": "0", "frame_index": 0, "counts": box(3), "pair_score": 0.9},
        common | {"expression_id": "1", "frame_index": 0, "counts": box(9), "pair_score": 0.2},
        common | {"expression_id": "3", "frame_index": 0, "counts": box(6), "pair_score": None},
        {"video_id": "v", "expression_id": "2", "status": "missing", "error": "gone"},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), run / "masks" / "unit.parquet")
    for least, expected in ((0.0, 3), (0.5, 2)):
        examples, left_out = gather(folder, "run", min_score=least)
        assert (examples.num_rows, left_out["not annotated"]) == (expected, 5 - expected)
    pq.write_table(pa.Table.from_pylist(rows[:2], schema=PREDICTIONS), run / "masks" / "unit.parquet")
    with pytest.raises(InputError, match="no masks with a pair_score"):
        gather(folder, "run", min_score=0.95)


def test_all_bad_rows_are_told_at_once(folder):
    write_manifest(folder, expression=" ")
    with pytest.raises(InputError, match=r"5 problems(.|\n)*expression_id=4: the expression is empty"):
        gather(folder)


def test_videos_that_cannot_be_opened_are_told(folder):
    write_manifest(folder, video_uri="gone")
    with pytest.raises(
        InputError,
        match=r"manifest.parquet: 1 problem\n.*gone does not exist; copy the file there, or correct its path$",
    ):
        gather(folder)


def test_masks_of_another_size_are_told(folder):
    write_annotations(folder, [("a", 0, rle.empty(20, 30))], size=(20, 30))
    with pytest.raises(InputError, match="expression_id=0: masks are 20x30, the video is 40x60"):
        gather(folder)


def test_broken_masks_are_told(folder):
    write_annotations(folder, [("a", 0, b"1234")])
    with pytest.raises(InputError, match="expression_id=0: "):
        gather(folder)


def test_objects_must_be_named(folder):
    write_manifest(folder, object_ids=None)
    with pytest.raises(InputError, match="object_ids is null"):
        gather(folder)


def test_a_source_that_teaches_nothing_is_refused(folder):
    write_annotations(folder, [("a", 0, None)])
    with pytest.raises(InputError, match="none of them has an object to learn from .* never show"):
        gather(folder)


def test_two_masks_of_one_frame_are_refused_in_any_order(folder):
    for rows in ([("a", 0, box(0)), ("a", 0, box(5))], [("a", 0, box(5)), ("a", 0, None)], [("a", 0, box(0))] * 2):
        write_annotations(folder, rows)
        with pytest.raises(InputError, match="video_id=v object_id=a: frame 0 has several rows; keep one row for"):
            gather(folder)


@pytest.mark.parametrize(("frames", "told"), [([5, 6, 7], "frames 6, 7"), ([-1], "frame -1"), ([0, 50], "frame 50")])
def test_masks_outside_the_video_are_told(folder, frames, told):
    write_annotations(folder, [("a", index, box(0)) for index in frames])
    message = f"expression_id=0: masks of {told} lie outside the video, which has 6 frames; correct frame_index"
    with pytest.raises(InputError, match=message):
        gather(folder)


def name_frames(folder, *names):
    table = pq.read_table(folder / "annotations.parquet")
    pq.write_table(table.set_column(3, "frame_name", pa.array(names)), folder / "annotations.parquet")


def test_masks_of_frames_that_a_folder_lacks_are_passed_over(folder):
    """A folder may hold each fifth frame, and the annotations all."""
    write_annotations(folder, [("a", 70, box(0)), ("a", 75, box(5))])
    name_frames(folder, "00002", "00099")
    examples, left_out = gather(folder)
    assert examples["annotated"].to_pylist() == [[2], [2]]
    name_frames(folder, "00098", "00099")
    with pytest.raises(InputError, match=r"learn from in .* \(2 annotated on other frames only, 2 not ann"):
        gather(folder)
    name_frames(folder, "00002", "00002")
    with pytest.raises(InputError, match="frame 00002 has several masks; keep one for each object and frame"):
        gather(folder)
    assert left_out == {"not annotated": 2, "with an object that is not annotated": 1}


def test_a_union_without_one_of_its_objects_is_left_out(folder):
    write_manifest(folder, object_ids=["a", "c"])
    with pytest.raises(InputError, match=r"\(5 with an object that is not annotated\); check that both"):
        gather(folder)


def test_rows_without_a_target_alone_teach_nothing(folder):
    write_manifest(folder, object_ids=[])
    with pytest.raises(InputError, match=r"\(5 without a target\)"):
        gather(folder)


def test_held_out_pairs_are_not_trained_on(folder):
    source = TrainingSource(manifest=str(folder / "manifest.parquet"), annotations=str(folder / "annotations.parquet"))
    uri = str(folder / "v")
    examples, left_out = gather_examples([source], {(uri, "both"), (uri, "no such sentence"), ("elsewhere", "none")})
    assert left_out == {"not annotated": 1, "held out": 1}
    assert "both" not in examples["expression"].to_pylist()
