"""`rvos import`: tables on disk, from the real data and from small folders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import writer
from pipeline.datasets.common.dataset_video import DatasetVideo
from pipeline.datasets.registry import DATASETS
from pipeline.datasets.writer import manifest_table
from pipeline.io.manifest import read_manifest
from schemas import rle
from schemas.check import conform
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS, VOID


def import_(root, out, split=None):
    return run(ImportConfig(dataset="ref-youtube-vos", root=str(root), out=str(out), split=split))


@pytest.fixture
def data_set(tmp_path):
    """One video of two frames; its mask has object 1 and void pixels."""
    root = tmp_path / "data"
    for kind, pixels in (("JPEGImages", np.zeros((6, 8, 3))), ("Annotations", np.eye(6, 8) + 255 * np.eye(6, 8, 2))):
        (root / kind / "a").mkdir(parents=True)
        for name in ("00000", "00001"):
            Image.fromarray(pixels.astype(np.uint8)).save(root / kind / "a" / f"{name}.png")
    videos = {"a": {"frames": ["00000", "00001"], "expressions": {"0": {"exp": "a line", "obj_id": "1"}}}}
    (root / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    return root


def test_real_data(shared, tmp_path):
    real = shared / "data/real"
    result = import_(real, tmp_path)
    assert (result.videos, result.pairs, result.mask_rows, result.void, result.warnings) == (3, 12, 139, None, ())
    manifest = read_manifest(result.manifest)
    assert manifest["video_id"].to_pylist() == ["blackswan"] * 4 + ["car-shadow"] * 4 + ["libby"] * 4
    assert manifest["num_frames"].to_pylist() == [50] * 4 + [40] * 4 + [49] * 4
    assert "frames" not in manifest.column_names  # all are listed, so --frame-step may choose
    annotations = conform(pq.read_table(result.annotations), ANNOTATIONS, "annotations")
    for row in annotations.to_pylist()[::13]:
        truth = np.asarray(Image.open(real / "Annotations" / row["video_id"] / f"{row['frame_name']}.png"))
        if row["counts"] is not None:
            np.testing.assert_array_equal(rle.decode(row["counts"], row["height"], row["width"]), truth == 1)
        else:
            assert not truth.any()


def test_real_first_frame_only(shared, tmp_path):
    result = import_(shared / "data/real/first_frame_only", tmp_path)
    assert (result.videos, result.pairs, result.mask_rows) == (1, 8, 2)
    rows = pq.read_table(result.annotations).to_pylist()
    assert [(row["object_id"], row["frame_name"]) for row in rows] == [("1", "00000"), ("2", "00000")]


def test_real_validation_text_without_frames(shared, tmp_path):
    text = shared / "data/real/text/ref-youtube-vos_valid_meta_expressions.json"
    (tmp_path / "meta_expressions/valid").mkdir(parents=True)
    shutil.copy(text, tmp_path / "meta_expressions/valid/meta_expressions.json")
    result = import_(tmp_path, tmp_path / "out", "valid")
    assert (result.videos, result.pairs, result.annotations) == (202, 834, None)
    assert len(result.warnings) == 1
    assert "without frames: 202" in result.warnings[0]
    manifest = read_manifest(result.manifest)
    assert set(manifest["split"].to_pylist()) == {"valid"}
    assert "object_ids" not in manifest.column_names
    row = manifest.slice(0, 1).to_pylist()[0]
    assert row["video_uri"] == str(tmp_path / "valid/JPEGImages" / row["video_id"])
    assert len(row["frames"]) == row["num_frames"]
    listed = json.loads(text.read_text())["videos"]
    assert {row["video_id"]: row["frames"] for row in manifest.to_pylist()} == {
        video_id: video["frames"] for video_id, video in listed.items()
    }


def test_void_pixels_get_a_table(data_set, tmp_path):
    result = import_(data_set, tmp_path / "out")
    void = conform(pq.read_table(result.void), VOID, "void")
    np.testing.assert_array_equal(rle.decode(void["counts"][0].as_py(), 6, 8), np.eye(6, 8, 2))
    assert pq.read_table(result.annotations)["object_id"].to_pylist() == ["1", "1"]
    assert "not scored" in result.text()


def test_uris_are_relative_only_below_the_manifest(data_set, tmp_path):
    beside = pq.read_table(import_(data_set, tmp_path / "out").manifest)
    assert beside["video_uri"].to_pylist() == [str(data_set / "JPEGImages/a")]
    inside = pq.read_table(import_(data_set, data_set).manifest)
    assert inside["video_uri"].to_pylist() == ["JPEGImages/a"]
    data_set.rename(tmp_path / "moved")
    moved = read_manifest(str(tmp_path / "moved/manifest.parquet"))
    assert moved["video_uri"].to_pylist() == [str(tmp_path / "moved/JPEGImages/a")]


def test_remote_to_remote(data_set):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in data_set.rglob("*.*"):
        memory.pipe(f"/importing/{path.relative_to(data_set)}", path.read_bytes())
    result = import_("memory://importing", "memory://imported")
    assert (result.pairs, result.mask_rows) == (1, 2)
    assert read_manifest(result.manifest)["video_uri"].to_pylist() == ["memory://importing/JPEGImages/a"]


def test_all_problems_at_once_and_nothing_written(data_set, tmp_path):
    for name in ("00000", "00001"):
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(data_set / "Annotations/a" / f"{name}.png")
    with pytest.raises(InputError) as caught:
        import_(data_set, tmp_path / "out")
    assert "00000.png: the mask is 5x5, the frames are 8x6 (and 1 more like it)" in str(caught.value)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="no data set"):
        import_(tmp_path / "gone", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_what_utf8_cannot_hold(data_set, tmp_path):
    """Half of an escaped pair, as a text cut after so many characters has it."""
    for where in ("exp", "kind"):
        expression = {"exp": "a line", "obj_id": "1"} | {where: "cut \ud83d"}
        videos = {"a": {"frames": ["00000", "00001"], "expressions": {"0": expression}}}
        (data_set / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
        with pytest.raises(
            InputError,
            match=r"meta_expressions\.json is not valid JSON: \\ud83d after .*cut ' is half of a surrogate pair",
        ):
            import_(data_set, tmp_path / "out")


def test_masks_of_an_earlier_import_are_pointed_out(data_set, tmp_path):
    import_(data_set, tmp_path / "out")
    shutil.rmtree(data_set / "Annotations")
    warnings = import_(data_set, tmp_path / "out").warnings
    assert [warning.partition(" was written")[0] for warning in warnings] == [
        str(tmp_path / "out" / name) for name in ("annotations.parquet", "void.parquet")
    ]


def test_attribute_types():
    base = {"video_id": "a", "video_uri": "/a", "expression": "x"}
    rows = [
        {**base, "expression_id": "0", "n": 1, "mixed": 1, "flag": True},
        {**base, "expression_id": "1", "mixed": "x", "none": None, "flag": 1.5},
    ]
    table = manifest_table(rows, "/out")
    assert table["n"].to_pylist() == [1, None]
    assert table["mixed"].to_pylist() == ["1", "x"]
    assert table["flag"].to_pylist() == ["True", "1.5"]
    assert "none" not in table.column_names


def test_what_a_data_set_does_not_take():
    with pytest.raises(InputError, match="ref-youtube-vos"):
        ImportConfig(dataset="coco", root=".", out=".")
    for option, value in (("expressions", "a.txt"), ("context", 5)):
        with pytest.raises(InputError, match=f"mevis takes no --{option}"):
            ImportConfig(dataset="mevis", root=".", out=".", **{option: value})
    with pytest.raises(InputError, match="folder takes no --split"):
        ImportConfig(dataset="folder", root=".", out=".", split="train")


def test_published_counts_stand_beside_those_found(data_set, tmp_path, shared):
    (tmp_path / "meta_expressions/valid").mkdir(parents=True)
    shutil.copy(data_set / "meta_expressions.json", tmp_path / "meta_expressions/valid/meta_expressions.json")
    result = import_(tmp_path, tmp_path / "out")
    assert [counts.partition(" (")[0] for counts in result.published] == ["valid: 834 expressions in 202 videos"]
    assert "1 pair in 1 video\npublished, valid: 834 expressions in 202 videos" in result.text()
    flat = import_(data_set, tmp_path / "flat")
    assert len(flat.published) == 3  # of which split it is, nobody knows
    real = run(ImportConfig(dataset="ref-davis17", root=str(shared / "data/real"), out=str(tmp_path / "davis")))
    assert (real.videos, real.pairs, real.objects, real.mask_rows) == (3, 12, 3, 139)
    assert read_manifest(str(real.manifest))["annotator"].to_pylist() == list("0123") * 3
    assert "valid: 244 expressions in 30 videos" in real.text()


def test_validation_videos_without_those_of_the_test_set(data_set, tmp_path):
    video = json.loads((data_set / "meta_expressions.json").read_text())["videos"]["a"]
    for split, videos in (("valid", {"a": video, "b": video}), ("test", {"b": video})):
        (tmp_path / "meta_expressions" / split).mkdir(parents=True)
        (tmp_path / "meta_expressions" / split / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    for split, video_id in (("valid", "a"), ("test", "b")):
        manifest = import_(tmp_path, tmp_path / split, split).manifest
        assert pq.read_table(manifest)["video_id"].to_pylist() == [video_id]


def test_masks_without_sentences(data_set, tmp_path):
    """DAVIS without the names of its objects: annotations, and no manifest."""
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / "DAVIS" / name).mkdir(parents=True)
        shutil.copytree(data_set / name, tmp_path / "DAVIS" / name / "480p")
    (tmp_path / "DAVIS/ImageSets/2017").mkdir(parents=True)
    (tmp_path / "DAVIS/ImageSets/2017/val.txt").write_text("a\n")
    result = run(ImportConfig(dataset="davis", root=str(tmp_path), out=str(tmp_path / "out"), split="val"))
    assert result.published == ("2017/val: 30 videos (DAVIS 2017)",)
    assert (result.manifest, result.videos, result.pairs, result.mask_rows) == (None, 1, 0, 2)
    assert "no expressions, no manifest" in result.text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotations.parquet", "void.parquet"]


def test_two_videos_of_one_id(data_set, tmp_path):
    videos = json.loads((data_set / "meta_expressions.json").read_text())["videos"]
    videos = dict.fromkeys(("x/y", "x__y"), videos["a"])
    (data_set / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    with pytest.raises(InputError, match="x__y: duplicate id"):
        import_(data_set, tmp_path / "out")


def test_many_pairs_are_packed_on_the_way(tmp_path, monkeypatch):
    """Columns that come late, end early or change their type."""
    monkeypatch.setattr(writer, "ROWS_AT_ONCE", 2)
    for number in range(4):
        (tmp_path / f"clips/v{number}.mp4").parent.mkdir(exist_ok=True)
        (tmp_path / f"clips/v{number}.mp4").write_bytes(b"")
    rows = [{"video": f"v{n % 4}", "expression": f"e{n}"} for n in range(8)]
    more = [{"a": 1, "b": 1}, {"a": 0.5, "b": "x"}, {"split": "train"}, {"c": True}]
    lines = [json.dumps(row | more[n % 4]) for n, row in enumerate(rows)]
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    config = ImportConfig(
        dataset="folder", root=str(tmp_path / "clips"), out=str(tmp_path), expressions=str(tmp_path / "e.jsonl")
    )
    result = run(config)
    assert (result.pairs, result.videos) == (8, 4)
    manifest = read_manifest(str(result.manifest))
    assert manifest.column_names == ["video_id", "video_uri", "expression_id", "expression", "split", "a", "b", "c"]
    assert manifest["a"].to_pylist() == [1, 1, 0.5, 0.5, None, None, None, None]
    assert manifest["b"].to_pylist() == ["1", "1", "x", "x", None, None, None, None]
    assert manifest["c"].to_pylist() == [None] * 6 + [True] * 2
    assert pq.read_table(str(result.manifest))["video_uri"].to_pylist() == [f"clips/v{n // 2}.mp4" for n in range(8)]


def test_own_videos_by_the_command(shapes, tmp_path):
    """What is imported passes the check that comes before a run; mistakes end without a traceback."""
    videos = Path(shapes[0]).parent / "videos"
    (tmp_path / "e.csv").write_text("video,expression,level\nshapes-0001,a circle,2\n,a square,\n")
    options = [str(videos), "--out", str(tmp_path / "out"), "--expressions", str(tmp_path / "e.csv")]
    told = CliRunner().invoke(main, ["import", "folder", *options, "--json"])
    assert told.exit_code == 0
    result = json.loads(told.stdout)
    assert (result["pairs"], result["videos"], result["annotations"]) == (4, 3, None)
    assert CliRunner().invoke(main, ["check", result["manifest"], "--write"]).exit_code == 0
    manifest = read_manifest(result["manifest"])
    assert manifest["num_frames"].to_pylist() == [12] * 4
    assert manifest["level"].to_pylist() == [None, "2", None, None]
    (tmp_path / "e.csv").write_text("video,expression\nno such,a circle\n")
    refused = CliRunner().invoke(main, ["import", "folder", *options])
    assert refused.exit_code == 2
    assert refused.output == f"Error: {tmp_path}/e.csv line 2: unknown video 'no such'\n"


@pytest.mark.s3
def test_from_and_to_s3(data_set, tmp_path, s3):
    import fsspec

    bucket = fsspec.filesystem("s3")
    for path in data_set.rglob("*.png"):
        bucket.put_file(str(path), f"{s3}/import/mevis/valid_u/{path.relative_to(data_set)}")
    counts = rle.encode(np.eye(6, 8, dtype=bool)[None])[0].decode()
    expression = {"exp": "two lines", "obj_id": [0, 1], "anno_id": [4, 9]}
    videos = {"a": {"frames": ["00000", "00001"], "expressions": {"0": expression}}}
    masks = {"9": [{"size": [6, 8], "counts": counts}, None], "4": [None, None]}
    for name, content in (("meta_expressions.json", {"videos": videos}), ("mask_dict.json", masks)):
        bucket.pipe_file(f"{s3}/import/mevis/valid_u/{name}", json.dumps(content).encode())
    result = run(ImportConfig(dataset="mevis", root=f"{s3}/import/mevis", out=f"{s3}/import/out"))
    assert (result.pairs, result.objects, result.mask_rows) == (1, 2, 4)
    assert read_manifest(str(result.manifest))["video_uri"].to_pylist() == [f"{s3}/import/mevis/valid_u/JPEGImages/a"]
    bucket.pipe_file(f"{s3}/import/e.csv", b"video,expression\nJPEGImages/a,a line\n")
    config = ImportConfig(
        dataset="folder", root=f"{s3}/import/mevis/valid_u", out=str(tmp_path / "out"), expressions=f"{s3}/import/e.csv"
    )
    manifest = read_manifest(str(run(config).manifest))
    assert manifest["video_uri"].to_pylist() == [f"{s3}/import/mevis/valid_u/JPEGImages/a"]
    assert manifest["num_frames"].to_pylist() == [2]


def test_attributes_that_are_columns_elsewhere(data_set, tmp_path):
    """annotator and split are text whatever the file has; names of columns of scores get an underscore."""
    uri = data_set / "meta_expressions.json"
    document = json.loads(uri.read_text())
    document["videos"]["a"]["expressions"]["0"] |= {"annotator": 1, "metric": "x", "status": 2}
    uri.write_text(json.dumps(document))
    result = import_(data_set, tmp_path / "out")
    (row,) = read_manifest(result.manifest).to_pylist()
    assert (row["annotator"], row["metric_"], row["status_"]) == ("1", "x", 2)
    assert [warning for warning in result.warnings if warning.startswith("attributes named like a column")]


def test_half_an_import_is_never_seen(data_set, tmp_path):
    sentences = tmp_path / "sentences.jsonl"  # whose texts are checked last, in the writer
    sentences.write_text('{"expression": "a line"}\n{"expression": "half of a pair \\ud800"}\n')
    options = {"root": str(data_set / "JPEGImages"), "out": str(tmp_path / "out"), "expressions": str(sentences)}
    with pytest.raises(InputError, match="which UTF-8 cannot hold"):
        run(ImportConfig(dataset="folder", **options))
    assert not list((tmp_path / "out").glob("*"))


def test_numbers_that_no_column_holds_together(monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "ROWS_AT_ONCE", 1)
    with writer.dataset_writer(str(tmp_path), {}) as tables:
        for value in (2**60 + 1, 0.5):
            pair = {"video_id": str(value), "video_uri": "a", "expression_id": "0", "expression": "x", "n": value}
            tables.add(DatasetVideo(str(value), pairs=[pair]))
        written = tables.commit()
    assert pq.read_table(written["manifest"])["n"].to_pylist() == [str(2**60 + 1), "0.5"]


def test_out_is_a_file(data_set, tmp_path):
    (tmp_path / "out").write_text("x")
    for out in (tmp_path / "out", tmp_path / "out/below"):
        with pytest.raises(InputError, match="is a file; name a folder"):
            import_(data_set, out)


def test_published_counts_of_another_year_are_not_shown():
    assert [counts.split for counts in DATASETS["davis"].published_counts("2016/val")] == ["2016, all"]


def test_tables_of_another_import_are_not_replaced(data_set, tmp_path):
    out = tmp_path / "out"
    first = import_(data_set, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert import_(data_set, out).pairs == first.pairs
    copy = tmp_path / "copy"
    shutil.copytree(data_set, copy)
    with pytest.raises(InputError, match=rf"was imported with other options \(root: '{data_set}', now '{copy}'\)"):
        import_(copy, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_tables_of_other_programs_are_not_replaced(data_set, tmp_path):
    table = pa.table({"video_id": ["mine"]})
    pq.write_table(table, tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match="manifest.parquet was not written by this command; choose another folder"):
        import_(data_set, tmp_path)
    assert pq.read_table(tmp_path / "manifest.parquet").equals(table)
    pq.write_table(table.replace_schema_metadata({writer.MADE_OF: b"{"}), tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match="was not written by this command"):
        import_(data_set, tmp_path)
