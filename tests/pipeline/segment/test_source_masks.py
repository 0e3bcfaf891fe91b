"""Masks of another run through the chain of a unit: those of the published loop, and errors that name their cause."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.families import load_refiner
from model.segmenter import Refining
from pipeline.runs.plan import SOURCE_UNIT
from pipeline.runs.run import Run
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from pipeline.segment.source_masks import read_sources
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import error_of, write
from tests.one_unit import segment_unit
from tests.published_sam import KINDS, published

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (48, 64)
NAMES = [f"{i:05}" for i in range(20)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {name: kind[0](tmp_path_factory.mktemp(name), seed=2) for name, kind in KINDS.items()}


@pytest.fixture
def video(tmp_path):
    """20 pictures of a box that moves over noise."""
    folder, random = tmp_path / "video", np.random.default_rng(3)
    folder.mkdir()
    for i, name in enumerate(NAMES):
        frame = random.integers(0, 255, (*SIZE, 3), np.uint8)
        frame[10:30, 5 + i : 25 + i] = 200
        Image.fromarray(frame).save(folder / f"{name}.png")
    return folder


def box(i: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[10:30, 5 + i : 25 + i] = True
    return mask


def score(i: int) -> float:
    return 0.9 - abs(i - 6) / 50


def given(expression: str, frames=range(20), empty=(8, 9)) -> pa.Table:
    """Rows of the source: the box, surest in frame 6."""
    masks = np.stack([box(i).T & (i not in empty) for i in frames]).transpose(0, 2, 1)
    pair = {"video_id": "v", "expression_id": expression, "height": 48, "width": 64, "status": "ok", "pair_score": 0.5}
    rows = [
        pair | {"frame_index": i, "frame_name": NAMES[i], "score": score(i), "margin": i / 100, "counts": counts}
        for i, counts in zip(frames, rle.encode(masks), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


def refine(tmp_path, checkpoint, video, tables, window=128, **refining):
    """The rows of a unit that refines these tables, one a pair."""
    source = Run(str(tmp_path / "source"), "f")
    write(source, "s", tables)
    rows = []
    for table in tables:
        frames = table["frame_name"].to_pylist()
        targets = frames if len(frames) == 2 else None
        pair = {"video_id": "v", "expression_id": table["expression_id"][0].as_py(), "expression": "a box"}
        rows.append(pair | {"video_uri": str(video), "target_frames": targets, SOURCE_UNIT: "s"})
    sources, rows, refused = read_sources(source.folder, rows)
    uri = str(tmp_path / "u.parquet")
    job = UnitJob(unit_id="u", fingerprint="f", uri=uri, rows=rows, sources=sources, refused=refused)
    model = load_refiner(checkpoint, device="cpu", refining=Refining(**refining))
    receipt = segment_unit(job, model, FrameOptions(window=window))
    return pq.read_table(uri).sort_by([("expression_id", "ascending"), ("frame_index", "ascending")]), receipt


def shown(video) -> np.ndarray:
    return np.stack([np.asarray(Image.open(video / f"{name}.png")) for name in NAMES])


@pytest.mark.parametrize("prompt", ["mask", "box"])
@pytest.mark.parametrize("name", KINDS)
def test_the_masks_are_those_of_the_published_loop(tmp_path, checkpoints, video, name, prompt):
    table, receipt = refine(tmp_path, checkpoints[name], video, [given("0"), given("1", (3, 17))], prompt=prompt)
    assert (receipt.pairs, receipt.frames, receipt.failed) == (2, 22, {})
    assert table.schema.equals(PREDICTIONS)
    for pair, anchor, count in (("0", 6, 20), ("1", 3, 2)):
        rows = table.filter(pc.equal(table["expression_id"], pair)).to_pylist()
        wanted, presence = published(checkpoints[name], name, shown(video), anchor, box(anchor), prompt)
        assert len(rows) == count
        for row in rows:
            index = row["frame_index"]
            assert np.array_equal(rle.decode(row["counts"], *SIZE), wanted[index]), (pair, index)
            seen = 1 if index == anchor and prompt == "mask" else presence[index]
            assert row["score"] == pytest.approx(score(anchor) * seen * wanted[index].any(), abs=1e-5)
            assert (row["frame_name"], row["query"], row["window"], row["chosen"]) == (NAMES[index], None, None, True)
            assert row["margin"] == pytest.approx(anchor / 100)


def test_a_pair_does_not_depend_on_the_others_or_on_the_window_of_the_target(tmp_path, checkpoints, video):
    """The second pair wants frames of the last window only; it is followed through the first one too."""
    model = checkpoints["sam2"]
    one, two = given("0"), given("1", (17, 18))
    (tmp_path / "a").mkdir()
    together, _ = refine(tmp_path, model, video, [one, two], window=16)
    alone, _ = refine(tmp_path / "a", model, video, [two], window=16)
    assert together.filter(pc.equal(together["expression_id"], "1")).equals(alone)


def test_pairs_that_failed_in_the_source_fail_with_its_reason(tmp_path, checkpoints, video):
    table, receipt = refine(tmp_path, checkpoints["sam2"], video, [given("0", (3, 17)), error_of("v", "1")])
    assert (receipt.failed, receipt.frames) == ({"missing": 1}, 2)
    (error,) = table.filter(pc.equal(table["status"], "missing"))["error"].to_pylist()
    assert error == f"video_id=v expression_id=1: in {tmp_path / 'source'}: gone"


def test_empty_masks_stay_empty(tmp_path, checkpoints, video):
    source = given("0", empty=range(20))
    table, receipt = refine(tmp_path, checkpoints["sam2"], video, [source])
    assert (receipt.frames, receipt.failed) == (20, {})
    assert table["counts"].equals(source["counts"])
    assert set(table["score"].to_pylist()) == {0.0}
    assert table["margin"].null_count == 20


def test_scores_may_be_unknown(tmp_path, checkpoints, video):
    source = given("0").drop_columns(["score", "margin"])
    table, receipt = refine(
        tmp_path, checkpoints["sam2"], video, [pa.Table.from_pylist(source.to_pylist(), PREDICTIONS)]
    )
    assert (receipt.failed, table["score"][0].as_py(), table["margin"].null_count) == ({}, 1.0, 20)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: Image.new("RGB", (64, 48)).save(v / "00020.png"), "frame 00020 has no mask in the source"),
        (lambda v: (v / "00019.png").unlink(), "19 frames were read, the source has masks of 20"),
        (lambda v: (v / "00001.png").rename(v / "00000a.png"), "frame 00000a is 00001 in the source"),
        (
            lambda v: [Image.new("RGB", (60, 48)).save(v / f"{name}.png") for name in NAMES],
            "frame 00000 is 60x48, its mask in the source 64x48",
        ),
    ],
)
def test_another_video_is_a_bad_row(tmp_path, checkpoints, video, change, reason):
    change(video)
    table, receipt = refine(tmp_path, checkpoints["sam2"], video, [given("0")])
    assert receipt.failed == {"bad_row": 1}
    assert reason in table["error"][0].as_py()


def test_a_damaged_or_incomplete_object_of_the_source_is_named(tmp_path):
    source = Run(str(tmp_path / "source"), "f")
    write(source, "s", [given("0")])
    row = {"video_id": "v", "expression_id": "1", SOURCE_UNIT: "s"}
    with pytest.raises(InputError, match=r"s.parquet has no row of video_id=v expression_id=1; run 'rvos audit"):
        read_sources(source.folder, [row])
    path = tmp_path / "source" / "masks" / "s.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"s.parquet cannot be refined: .*--repair"):
        read_sources(source.folder, [row])
    path.unlink()
    with pytest.raises(InputError, match=r"s.parquet cannot be refined"):
        read_sources(source.folder, [row])
