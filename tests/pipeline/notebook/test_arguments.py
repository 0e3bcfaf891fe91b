"""Wrong arguments of the Python interface: each is one error of refervos that says what it is and what to pass."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

import refervos
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate

FRAMES = np.zeros((2, 64, 64, 3), np.uint8)
NO_VIDEO = r"video must be a path or frames, uint8 \[T, H, W, 3\] or a list of uint8 \[H, W, 3\], got "


@pytest.fixture(scope="module")
def model(checkpoint) -> refervos.Model:
    return refervos.load_model(checkpoint, device="cpu", short_side=64)


@pytest.fixture(scope="module")
def things(shapes, labelled_run, tmp_path_factory) -> dict[str, str]:
    """Name of a thing -> its path."""
    folder = tmp_path_factory.mktemp("things")
    evaluate(EvaluateConfig(predictions=labelled_run.folder, annotations=shapes[1], out=str(folder / "scores")))
    (folder / "w.pth").write_bytes(b"\x80\x02}q\x00.")
    (folder / "list.csv").write_text("video,expression\na,b\n")
    (folder / "empty").mkdir()
    manifest = Path(shapes[0])
    return {
        "video": refervos.read_pairs(manifest)["video_uri"][0].as_py(),
        "videos": str(manifest.parent / "videos"),
        "data": str(manifest.parent),
        "manifest": str(manifest),
        "annotations": shapes[1],
        "run": labelled_run.folder,
        **{name: str(folder / name) for name in ("scores", "w.pth", "list.csv", "empty", "absent")},
        "score table": str(folder / "scores" / "scores.parquet"),
    }


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("data", "data.* is a folder with a manifest and annotations, not a video"),
        ("videos", "is a folder of videos, not a video; give a video file"),
        ("manifest", r"is a manifest, not a video; refervos\.read_pairs takes it"),
        ("run", r"is a run, not a video; refervos\.read_masks takes it"),
        ("w.pth", r"is a checkpoint file of torch \(\.pth\), not a video"),
        ("list.csv", "is a CSV file, not a video"),
        ("empty", "is an empty folder, not a video"),
        ("absent", "absent does not exist; copy the file there, or correct the path$"),
    ],
)
def test_a_path_that_is_no_video(model, things, thing, message):
    with pytest.raises(refervos.RvosError, match=message.replace("data.*", "")):
        model.segment(things[thing], "a cat")


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("", "video is an empty text"),
        (None, f"{NO_VIDEO}None$"),
        (3, f"{NO_VIDEO}3$"),
        (b"a.mp4", f"{NO_VIDEO}a value of type bytes"),
        ({}, f"{NO_VIDEO}a value of type dict"),
        (iter(FRAMES), f"{NO_VIDEO}a value of type"),
        (torch.zeros(2, 64, 64, 3, dtype=torch.uint8), r"a value of type Tensor; np\.asarray\(video\)"),
        (Image.new("RGB", (64, 64)), r"a value of type Image; np\.asarray\(video\)"),
        (["a.mp4"], r"frame 0 must be .* got 'a\.mp4'; pass one path"),
        (FRAMES[0], r"video is uint8 \[64, 64, 3\].*pass image\[np\.newaxis\]"),
        (FRAMES / 255, r"got float64 \[64, 64, 3\]; \(255 \* frame\)"),
        (FRAMES.transpose(0, 3, 1, 2), r"got uint8 \[3, 64, 64\]; frame\.transpose"),
        (FRAMES[..., :1], r"got uint8 \[64, 64, 1\]; pass RGB"),
        (FRAMES[:, :0], "frame 0: .*64x0 is out of bounds"),
        (FRAMES[:0], "there are no frames"),
        (np.array("a.mp4"), r"video is <U5 \[\]"),
    ],
)
def test_what_is_no_video(model, video, message):
    with pytest.raises(refervos.RvosError, match=message):
        model.segment(video, "a cat")


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        ([], "expressions is empty"),
        (None, "expressions must be a sentence as str, or a list of them, got None"),
        (3, "got 3"),
        (b"a cat", "got a value of type bytes"),
        (["a cat", None], r"expressions\[1\] must be a sentence as str, got None"),
        ("\ud800", "holds half of a character"),
        ("", "the expression is empty"),
    ],
)
def test_what_is_no_sentence(model, expressions, message):
    with pytest.raises(refervos.RvosError, match=message):
        model.segment(FRAMES, expressions)


@pytest.mark.parametrize("name", ["window", "overlap", "frame_step"])
@pytest.mark.parametrize("value", ["3", 2.5, True, -1, [3]])
def test_what_is_no_number_of_frames(model, name, value):
    with pytest.raises(refervos.RvosError, match=f"{name} must be a whole number of at least [01], got"):
        model.segment(FRAMES, "a cat", **{name: value})
    with pytest.raises(refervos.RvosError, match="frames must be a whole number"):
        model.segment(FRAMES, "a cat", window=np.int64(2))[0].draw(value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("short_side", "64", "short_side must be a whole number of at least 32, got '64'"),
        ("short_side", 0, "at least 32, got 0"),
        ("max_size", 2.5, "max_size must be a whole number"),
        ("threshold", "x", "threshold must be a number, got 'x'"),
        ("threshold", None, "threshold must be a number, got None"),
        ("device", None, 'device must be "cpu", "cuda" or "auto", got None'),
        ("device", torch.device("cpu"), "got a value of type device"),
        ("precision", None, "unknown precision None"),
        ("checkpoint", None, "checkpoint must be the path or URI of a checkpoint folder, got None"),
        ("checkpoint", b"tiny", "got a value of type bytes"),
        ("checkpoint", "", "checkpoint is an empty text"),
    ],
)
def test_options_of_a_model(name, value, message):
    with pytest.raises(refervos.RvosError, match=message):
        refervos.load_model(**{name: value})


@pytest.mark.parametrize(
    ("read", "thing", "message"),
    [
        ("load_model", "video", r"is a video, not a checkpoint folder; refervos\.Model\.segment takes it"),
        ("load_model", "w.pth", r"\(\.pth\), not a checkpoint folder; 'rvos convert FILE\.pth"),
        ("load_model", "empty", "is an empty folder, not a checkpoint folder"),
        ("load_model", "run", "is a run, not a checkpoint folder"),
        ("load_model", "absent", "absent does not exist; pass a checkpoint folder"),
        ("read_pairs", "data", r"is a folder with .*, not a run or a manifest; pass .*/manifest\.parquet$"),
        ("read_pairs", "annotations", "is a table of annotations, not a run or a manifest"),
        ("read_pairs", "list.csv", "is a CSV file, not a run or a manifest"),
        ("read_masks", "manifest", r"is a manifest, not a run or a table of masks; refervos\.read_pairs takes it"),
        ("read_masks", "scores", r"is a folder of scores, .*refervos\.read_scores takes it"),
        ("read_masks", "video", "is a video, not a run or a table of masks"),
        ("read_scores", "score table", "is a table of scores, not a folder of scores; pass its folder, .*/scores$"),
        ("read_scores", "run", r"is a run, not a folder of scores; refervos\.read_masks takes it"),
        ("read_scores", "manifest", "is a manifest, not a folder of scores"),
    ],
)
def test_things_of_another_kind(things, read, thing, message):
    with pytest.raises(refervos.RvosError, match=message):
        getattr(refervos, read)(things[thing])


@pytest.mark.parametrize("read", ["load_model", "read_pairs", "read_masks", "read_scores"])
@pytest.mark.parametrize("value", [None, 3, b"runs", ["runs"], "", "a\0b", "foo://x"])
def test_what_is_no_path(read, value):
    with pytest.raises(refervos.RvosError):
        getattr(refervos, read)(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video_ids": 3}, "video_ids must be an id as str, or a list of them, got 3"),
        ({"video_ids": [3]}, r"video_ids\[0\] must be an id as str, got 3"),
        ({"columns": "counts"}, "columns must be a list of names, got 'counts'"),
        ({"columns": []}, "columns must be a list of names"),
        ({"columns": None}, "columns must be a name"),
        ({"columns": [["counts"]]}, r"columns\[0\] must be a name as str"),
    ],
)
def test_options_of_read_masks(labelled_run, options, message):
    with pytest.raises(refervos.RvosError, match=message):
        refervos.read_masks(labelled_run.folder, **options)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "rows must be a pyarrow.Table or a pandas.DataFrame, got None; read_masks returns one"),
        ([{"height": 3}], "got a value of type list"),
        ("runs/first", "got 'runs/first'"),
        (pd.DataFrame(), "the rows have no column counts, height, width"),
        (pa.table({"height": ["a"], "width": [3], "counts": [b"x"]}), "column height must hold int, got 'a'"),
        (pa.table({"height": [None], "width": [3], "counts": [b"x"]}), "row 0 has no mask"),
        (pa.table({"height": [3], "width": [3], "counts": ["x"]}), "column counts must hold bytes, got 'x'"),
        (pd.DataFrame({"height": [3, "x"], "width": [3, 3], "counts": [b"x", b"x"]}), "the rows cannot be read"),
    ],
)
def test_rows_without_masks(rows, message):
    with pytest.raises(refervos.RvosError, match=message):
        refervos.decode_masks(rows)


def test_a_model_is_loaded_and_not_made():
    with pytest.raises(refervos.RvosError, match=r"a Model comes from load_model\(checkpoint\), not from 'tiny'"):
        refervos.Model("tiny")  # pyright: ignore[reportArgumentType]
