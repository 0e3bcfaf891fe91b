"""Hashes of what was scored: the same masks in whatever files give the same, any other mask another."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import evaluate
from jobs.evaluate import EvaluateConfig
from schemas import rle

HEIGHT, WIDTH, FRAMES = 12, 20, 3


def labels(frame, shift=0):
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[2:8, 1 + frame + shift : 6 + frame] = 1
    image[3:9, 10:16] = 2
    return image


def tree(folder, shift=0):
    for video in ("a", "b"):
        for frame in range(FRAMES):
            path = folder / video / f"{frame:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels(frame, shift)).save(path)
    return str(folder)


def rows(key, shift=0):
    """The same masks as rows, of frames without names."""
    for video in ("a", "b"):
        for frame in range(FRAMES):
            for object_id in (1, 2):
                counts = rle.encode((labels(frame, shift) == object_id)[None])[0]
                size = {"height": HEIGHT, "width": WIDTH, "counts": counts}
                yield {"video_id": video, key: str(object_id), "frame_index": frame} | size


def table(path, of):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(of), path)
    return str(path)


def hashes(tmp_path, predictions, annotations, **options):
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    config = EvaluateConfig(
        predictions=predictions, annotations=annotations, out=str(tmp_path / "out"), missing="zero", **options
    )
    summary = evaluate.run(config).summary
    return summary["truth_hash"], summary["predictions_hash"]


@pytest.fixture
def truth(tmp_path):
    return table(tmp_path / "gt.parquet", list(rows("expression_id")))


def test_order_and_files_do_not_count(tmp_path, truth):
    whole = list(rows("expression_id", shift=1))
    expected = hashes(tmp_path, table(tmp_path / "p.parquet", whole), truth)
    backwards = table(tmp_path / "backwards.parquet", whole[::-1])
    table(tmp_path / "split" / "1.parquet", [row for row in whole if row["video_id"] == "b"])
    table(tmp_path / "split" / "2.parquet", [row for row in whole if row["video_id"] == "a"])
    assert hashes(tmp_path, backwards, truth) == expected
    assert hashes(tmp_path, str(tmp_path / "split"), truth) == expected
    assert hashes(tmp_path, backwards, table(tmp_path / "g2.parquet", list(rows("expression_id"))[::-1])) == expected
    assert all(one.startswith("sha256:") and len(one) == 71 for one in expected)


def test_images_and_tables_of_the_same_masks_are_the_same(tmp_path, truth):
    maps = hashes(
        tmp_path, tree(tmp_path / "maps", shift=1), table(tmp_path / "gt_objects.parquet", list(rows("object_id")))
    )
    tables = hashes(tmp_path, table(tmp_path / "p.parquet", list(rows("expression_id", shift=1))), truth)
    assert maps == tables


def test_any_other_mask_counts_on_its_own_side(tmp_path, truth):
    whole = list(rows("expression_id", shift=1))
    first = hashes(tmp_path, table(tmp_path / "p.parquet", whole), truth)
    changed = [row | {"counts": whole[0]["counts"]} if n == 7 else row for n, row in enumerate(whole)]
    other = hashes(tmp_path, table(tmp_path / "q.parquet", changed), truth)
    lacking = hashes(tmp_path, table(tmp_path / "r.parquet", whole[:-1]), truth)
    skipping = hashes(tmp_path, table(tmp_path / "s.parquet", whole[: 2 * FRAMES]), truth)
    assert {other[0], lacking[0], skipping[0]} == {first[0]}
    assert len({first[1], other[1], lacking[1], skipping[1]}) == 4
    less = table(tmp_path / "less.parquet", [row for row in rows("expression_id") if row["frame_index"] < 2])
    against_less = hashes(tmp_path, table(tmp_path / "p.parquet", whole), less)
    assert against_less[0] != first[0]


def test_with_assignment_the_labels_of_no_object_count_too(tmp_path):
    objects = table(tmp_path / "gt.parquet", list(rows("object_id")))
    plain = hashes(tmp_path, tree(tmp_path / "maps"), objects, protocol="ref-davis17")
    folder = tmp_path / "more"
    tree(folder)
    image = labels(0)
    image[0, 0] = 3
    Image.fromarray(image).save(folder / "a" / "00000.png")
    more = hashes(tmp_path, str(folder), objects, protocol="ref-davis17")
    assert more[0] == plain[0]
    assert more[1] != plain[1]
