"""The main job on real videos with a real (small, untrained) model, through Ray Data."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli import main
from jobs import segment
from jobs.terminal.progress import RunProgress
from model.bundled import BUNDLED, FOLDER
from model.families import check_checkpoint, load_segmenter
from model.segmenter import Overlap
from pipeline.io import parquet, storage
from pipeline.runs.receipts import ReceiptNotes
from pipeline.runs.run import Run
from pipeline.segment.totals import RunTotals
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.masks import PREDICTIONS
from tests.segmented import keys, masks, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def done(shapes, checkpoint, tmp_path_factory, ray_session):
    folder = str(tmp_path_factory.mktemp("run") / "run")
    shown: list[RunProgress] = []
    result = run(shapes[0], folder, checkpoint, shown.append)
    return folder, result, shown


def test_every_pair_is_there_exactly_once_with_a_mask_for_each_frame(done, shapes):
    folder, result, _ = done
    table = masks(folder)
    assert table.schema.equals(PREDICTIONS)
    pairs = pq.read_table(shapes[0]).to_pylist()
    expected = {(pair["video_id"], pair["expression_id"], frame) for pair in pairs for frame in range(12)}
    assert sorted(keys(table)) == sorted(expected)
    assert (result.pairs, result.failed, result.frames, result.exit_code) == (9, {}, 108, 0)
    row = table.to_pylist()[0]
    assert rle.decode(row["counts"], row["height"], row["width"]).shape == (96, 128)
    assert 0 <= row["score"] <= 1
    assert row["frame_name"] == "00000"


def test_progress_reaches_the_end(done):
    _, _, shown = done
    assert [(p.pairs, p.work) for p in shown] == [(3, 36), (6, 72), (9, 108)]
    assert shown[-1].line().startswith("9/9 pairs · ")


def test_the_summary_says_what_happened(done):
    folder, result, _ = done
    text = result.text()
    assert folder in text
    assert "9: 9 with masks, 0 failed" in text
    assert "108 masks in" in text
    assert all(f"{stage} " in text for stage in ("decode", "model", "encode", "write"))
    assert f"bound   by {result.bound.text}" in text
    document = json.loads(json.dumps(result.to_json()))
    assert document["ok"] == 9
    assert document["bound"]["by"] in document["bound"]["shares"]
    assert sum(document["bound"]["shares"].values()) == pytest.approx(1, abs=0.001)


def test_run_json_repeats_the_run(done, shapes, checkpoint, tmp_path):
    folder, _, _ = done
    document = json.loads((Path(folder) / "run.json").read_text())
    assert document["config"]["manifest"] == shapes[0]
    assert document["versions"]["torch"]
    again = segment.SegmentConfig(**document["config"] | {"run": str(tmp_path / "again")})
    segment.run(again)
    assert masks(folder).equals(masks(tmp_path / "again"))


def test_repeating_does_nothing_again(done, shapes, checkpoint):
    folder, _, _ = done
    before = {path: path.stat().st_mtime_ns for path in Path(folder, "masks").iterdir()}
    result = run(shapes[0], folder, checkpoint)
    assert {path: path.stat().st_mtime_ns for path in Path(folder, "masks").iterdir()} == before
    assert (result.frames, result.there_before, result.pairs) == (0, 9, 9)


def test_another_fingerprint_is_refused_with_what_differs(done, shapes, checkpoint):
    folder, _, _ = done
    with pytest.raises(InputError, match="threshold: 0.5, now 0.4"):
        run(shapes[0], folder, checkpoint, threshold=0.4)


def test_the_masks_do_not_depend_on_actors_units_or_neighbours(done, shapes, checkpoint, tmp_path):
    folder, _, _ = done
    run(shapes[0], tmp_path / "two", checkpoint, actors="2", unit_frames=12)
    assert len(Run.open(str(tmp_path / "two")).units()) == 9 // 3 * 1
    mine, theirs = masks(folder), masks(tmp_path / "two")
    assert keys(mine) == keys(theirs)
    assert mine["counts"].equals(theirs["counts"])


def test_windows_that_share_frames(done, shapes, checkpoint, tmp_path):
    """12 frames in windows of 5 that share 2, the last one shifted back: the segmenter's masks, each frame once."""
    result = run(shapes[0], tmp_path / "run", checkpoint, overlap=2)
    assert (result.pairs, result.frames, result.failed) == (9, 108, {})
    table = masks(tmp_path / "run")
    assert keys(table) == keys(masks(done[0]))
    assert set(table["window"].to_pylist()) == {5}
    segmenter = load_segmenter(checkpoint, device="cpu", short_side=64)
    pair = pq.read_table(shapes[0]).to_pylist()[0]
    video = storage.absolute(pair["video_uri"], storage.parent(shapes[0]))
    frames = [segmenter.prepare(frame.image) for frame in read_frames(video, Selection())]
    track, found = None, []
    for start, final in ((0, 3), (3, 6), (6, 7), (7, 12)):
        overlap = Overlap(start, final, [track])
        (answer,) = segmenter.segment(frames[start : start + 5], (96, 128), [pair["expression"]], None, overlap)
        track = answer.track
        found += rle.encode(answer.masks)
    mine = table.filter(
        (pc.field("video_id") == pair["video_id"]) & (pc.field("expression_id") == pair["expression_id"])
    )
    assert [bytes(counts) for counts in mine["counts"].to_pylist()] == found
    assert found != [row["counts"] for row in masks(done[0]).slice(0, 12).to_pylist()]


def test_overlap_is_in_the_fingerprint_only_if_there_is_one(done, shapes, checkpoint):
    plain = segment.SegmentConfig(manifest="m", run="r")
    before = segment.fingerprint_inputs(plain, "w", 360)
    assert "overlap" not in before
    overlapping = segment.SegmentConfig(manifest="m", run="r", overlap=8)
    assert segment.fingerprint_inputs(overlapping, "w", 360) == before | {"overlap": 8}
    with pytest.raises(InputError, match="overlap: None, now 2"):
        run(shapes[0], done[0], checkpoint, overlap=2)


def test_another_model_writes_where_new_run_says(done, shapes, checkpoint, tmp_path):
    folder, _, _ = done
    result = run(shapes[0], folder, checkpoint, threshold=0.4, new_run=str(tmp_path / "new"), limit=1)
    assert result.run == str(tmp_path / "new")
    assert run(shapes[0], folder, checkpoint, new_run=str(tmp_path / "unused")).run == folder
    assert not (tmp_path / "unused").exists()
    with pytest.raises(InputError, match="choose another folder with --new-run"):
        run(shapes[0], folder, checkpoint, threshold=0.3)
    with pytest.raises(InputError, match="threshold: 0.4, now 0.3"):
        run(shapes[0], folder, checkpoint, threshold=0.3, new_run=str(tmp_path / "new"))


@pytest.mark.s3
def test_a_run_on_s3(s3, shapes, checkpoint, tmp_path, done):
    base = f"{s3}/{tmp_path.name}"
    rows = pq.read_table(shapes[0]).to_pylist()
    for uri in {row["video_uri"] for row in rows}:
        storage.write_bytes(storage.join(base, uri), Path(storage.parent(shapes[0]), uri).read_bytes())
    parquet.write_table(f"{base}/m.parquet", pa.Table.from_pylist(rows))
    for path in Path(checkpoint).iterdir():
        storage.write_bytes(f"{base}/checkpoint/{path.name}", path.read_bytes())
    result = run(f"{base}/m.parquet", f"{base}/run", f"{base}/checkpoint")
    assert result.exit_code == 0
    assert masks(f"{base}/run")["counts"].equals(masks(done[0])["counts"])
    assert run(f"{base}/m.parquet", f"{base}/run", f"{base}/checkpoint").there_before == 9
    assert b"test-secret-value" not in storage.read_bytes(f"{base}/run/run.json")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": "0"}, "--window"),
        ({"window": "all"}, "--window"),
        ({"window": "²"}, "--window must be a whole number of frames, at least 1"),
        ({"window": "9" * 5000}, "--window must be a whole number of frames, at least 1"),
        ({"overlap": 5}, "--overlap must be at least 0 and below --window 5, got 5"),
        ({"overlap": -1}, "--overlap must be at least 0"),
        ({"overlap": 2, "window": "whole"}, "'--window whole' has one window only"),
        ({"threshold": 1.0}, "--threshold"),
        ({"max_size": 10}, "--max-size"),
        ({"gpus_per_actor": 1.0}, "has 0 GPUs"),
        ({"device": "cuda"}, "has 0 GPUs"),
        ({"actors": "99"}, "--actors 99"),
        ({"actors": "0"}, "--actors must be a whole number of at least 1, or MIN:MAX"),
        ({"actors": "4:2"}, "--actors must be a whole number of at least 1, or MIN:MAX"),
        ({"checkpoint": "/nowhere"}, "--checkpoint /nowhere"),
        ({"retry_errors": "oom,lost"}, "--retry-errors lost: choose from missing, corrupt"),
    ],
)
def test_wrong_options_are_refused_before_work_starts(shapes, checkpoint, tmp_path, options, text):
    with pytest.raises(InputError, match=text):
        run(shapes[0], tmp_path / "run", **{"checkpoint": checkpoint} | options)


def test_frames_are_as_large_as_the_checkpoint_wants_them(checkpoint):
    tiny, other = (segment.SegmentConfig(manifest="m", run="r", **named) for named in ({}, {"checkpoint": checkpoint}))
    assert (tiny.is_bundled, other.is_bundled) == (True, False)
    assert segment.check_model(tiny)[0]["short_side"] == 96
    assert segment.check_model(other)[0]["short_side"] == 360
    assert segment.check_model(segment.SegmentConfig(manifest="m", run="r", short_side=128))[0]["short_side"] == 128
    assert segment.model_options(tiny, 1).checkpoint == "tiny"


@pytest.mark.parametrize(("actors", "sizes"), [(None, []), ("3", [3]), ("1:16", [1, 16])])
def test_actors_are_one_number_or_two(actors, sizes):
    assert segment.SegmentConfig(manifest="m", run="r", actors=actors).pool_size == sizes


def test_the_error_of_a_worker_keeps_its_kind():
    def receipts():
        error = RuntimeError("pages of Ray")
        error.__cause__ = StorageError("s3://b: no answer")
        raise error
        yield

    with pytest.raises(StorageError, match="^s3://b: no answer$"):
        segment._follow(receipts(), [], RunTotals(), ReceiptNotes(Run("", ""), ""), lambda _: None, [])


def test_an_actor_that_cannot_start_gives_one_line(shapes, checkpoint, tmp_path, monkeypatch):
    info = check_checkpoint(checkpoint)
    monkeypatch.setattr(segment, "read_checkpoint_info", lambda checkpoint: info)
    broken = tmp_path / "checkpoint"
    broken.mkdir()
    with pytest.raises(InfrastructureError, match="cannot load the model: .*config.json"):
        run(shapes[0], tmp_path / "run", str(broken))


def test_the_command_line_prints_json(done, shapes, checkpoint):
    folder, _, _ = done
    command = [
        "segment",
        shapes[0],
        folder,
        "--checkpoint",
        checkpoint,
        "--short-side",
        "64",
        "--window",
        "5",
        "--json",
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pairs"] == 9


def test_reduced_precision_is_compared_with_float32(shapes, tmp_path):
    result = run(shapes[0], tmp_path / "run", BUNDLED, precision="bf16", short_side=96)
    assert result.parity is not None
    assert 0 < result.parity < 0.02
    assert f"parity  {result.parity:.2%} of the masks' pixels differ from plain fp32" in result.text()
    with pytest.raises(InputError, match="precision"):  # decides the masks
        run(shapes[0], tmp_path / "run", BUNDLED, short_side=96)


@pytest.mark.slow
def test_a_model_that_overflows_in_reduced_precision_is_refused(shapes, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "large")
    weights = load_file(tmp_path / "large" / "model.safetensors")
    weights = {name: x.float() * (1e9 if "mask_features" in name else 1) for name, x in weights.items()}
    save_file(weights, tmp_path / "large" / "model.safetensors")
    options = ["--checkpoint", str(tmp_path / "large"), "--short-side", "96", "--precision", "fp16"]
    result = CliRunner().invoke(main, ["segment", str(shapes[0]), str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert "masks in fp16 differ from those in plain fp32" in result.output
    assert result.output.endswith("choose another --precision or drop --compile\n")
    assert "Traceback" not in result.output
    assert not Run.open(str(tmp_path / "run")).committed()


def test_a_sentence_longer_than_the_checkpoint_takes_costs_one_row(shapes, tmp_path):
    table = pq.read_table(shapes[0]).slice(0, 2)
    uris = [storage.absolute(uri, storage.parent(shapes[0])) for uri in table["video_uri"].to_pylist()]
    sentences = [table["expression"][0].as_py(), "circle " * 63]  # 67 tokens
    for name, values in (("video_uri", uris), ("expression", sentences)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, tmp_path / "manifest.parquet")
    command = ["segment", str(tmp_path / "manifest.parquet"), str(tmp_path / "run")]
    refused = CliRunner().invoke(main, [*command, "--strict"])
    assert refused.exit_code == 2
    assert ": the expression has" in refused.output
    assert "tokens, at most 64 fit; shorten it" in refused.output
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["failed"] == {"bad_row": 1}
    (error,) = masks(tmp_path / "run").filter(pc.field("status") == "bad_row")["error"].to_pylist()
    assert "tokens, at most 64 fit; shorten it" in error
