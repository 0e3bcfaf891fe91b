"""Moving shapes: tables that pass the door, masks that lie where the pixels are, the same bytes each time."""

import av
import numpy as np
import pytest

from pipeline.datasets.synthetic.shapes import COLOURS, KINDS
from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from schemas import rle
from schemas.check import conform
from schemas.masks import ANNOTATIONS
from tests.moving_shapes import MovingScene, MovingShape, MovingShapes

SMALL = MovingShapes(videos=2, num_frames=6, height=48, width=64, seed=7)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return SMALL.write(str(tmp_path_factory.mktemp("shapes")))


def test_tables(written):
    manifest = read_manifest(written[0])
    annotations = conform(parquet.read_table(written[1]), ANNOTATIONS, written[1])
    assert manifest.num_rows == 2 * SMALL.num_shapes
    assert annotations.num_rows == manifest.num_rows * SMALL.num_frames
    assert len(set(manifest["expression"].slice(0, SMALL.num_shapes).to_pylist())) == SMALL.num_shapes
    assert {"colour", "shape"} <= set(manifest.column_names)
    assert all(storage.exists(uri) for uri in manifest["video_uri"].to_pylist())


def test_videos_show_the_shapes_under_their_masks(written):
    manifest = read_manifest(written[0]).to_pylist()
    with av.open(manifest[0]["video_uri"]) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == SMALL.num_frames
    colours = {row["object_ids"][0]: row["colour"] for row in manifest if row["video_id"] == "shapes-0000"}
    rows = [row for row in parquet.read_table(written[1]).to_pylist() if row["video_id"] == "shapes-0000"]
    for row in rows:
        mask = row["counts"] and rle.decode(row["counts"], row["height"], row["width"])
        if mask is not None and mask.sum() > 60:
            seen = np.median(frames[row["frame_index"]][mask], axis=0)
            assert np.abs(seen - COLOURS[colours[row["object_id"]]]).max() < 40


def test_the_seed_decides_every_byte(written, tmp_path):
    again = SMALL.write(str(tmp_path))
    for first, second in zip(written, again, strict=True):
        assert storage.read_bytes(first) == storage.read_bytes(second)
    video = "videos/shapes-0001.mp4"
    first = storage.read_bytes(storage.join(storage.parent(written[0]), video))
    assert first == storage.read_bytes(storage.join(str(tmp_path), video))


def test_a_shape_in_front_hides_the_one_behind():
    behind, front = (
        MovingShape(colour=colour, kind="square", radius=10, start=(20, 20), velocity=(1, 0))
        for colour in ("red", "blue")
    )
    image, masks = MovingScene(shapes=(behind, front), background=np.zeros((40, 60, 3), np.uint8)).render(3)
    assert not masks[0].any()
    assert (image[masks[1]] == COLOURS["blue"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_stay_inside_the_frame(kind):
    shape = MovingShape(colour="red", kind=kind, radius=8, start=(10, 10), velocity=(3.3, -2.1))
    areas = {int(shape.mask(frame, 40, 60).sum()) for frame in range(200)}
    assert max(areas) - min(areas) <= 0.25 * max(areas)  # sampling at pixel centres
