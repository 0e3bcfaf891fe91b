"""`rvos import masks`: masks of other tools become a run like any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import audit, evaluate, import_masks, select, status
from jobs.import_masks import ImportMasksResult
from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from tests.handmade import counted_from_one, run_of_truth
from tests.imported import SCORED, bring_in, columns, typed
from tests.segmented import keys, masks
from tests.tiny_sam import write_sam2


def score(predictions, annotations, out, **options):
    config = {"predictions": str(predictions), "annotations": annotations, "out": str(out), "protocol": "all-frames"}
    return evaluate.run(evaluate.EvaluateConfig(**config | options)).summary["overall"]


@pytest.mark.parametrize("form", ["results.json", "list.json", "tree", "table"])
def test_exported_masks_come_back_equal(form, exported, labelled_run, shapes, tmp_path):
    result = bring_in(exported / form, shapes[0], tmp_path / "run")
    assert (result.pairs, result.failed, result.frames, result.exit_code) == (9, {}, 108, 0)
    assert columns(tmp_path / "run") == columns(labelled_run.folder)
    assert masks(tmp_path / "run").schema.equals(PREDICTIONS)
    found = audit.run(audit.AuditConfig(run=str(tmp_path / "run")))
    assert (found.exit_code, status.run(status.StatusConfig(run=str(tmp_path / "run"))).state) == (0, "audited")
    scores = masks(tmp_path / "run")["score"].to_pylist()
    assert scores == ([None] * 108 if form == "tree" else scores)
    if form in ("results.json", "table"):
        assert scores == masks(labelled_run.folder)["score"].to_pylist()
    expected = score(labelled_run.folder, shapes[1], tmp_path / "a")
    assert score(tmp_path / "run", shapes[1], tmp_path / "b") == expected
    record = read_run_json(str(tmp_path / "run"))
    assert (record["decides"]["form"], record["config"]["source"]) == ("imported masks", str(exported / form))


def test_label_maps_show_each_pair_its_objects(shapes, tmp_path):
    manifest, annotations = counted_from_one(str(tmp_path), *shapes)
    made = run_of_truth(str(tmp_path / "made"), manifest, annotations)
    assert typed("export", "davis", made.folder, "--out", tmp_path / "davis")[0] == 0
    result = bring_in(tmp_path / "davis/anno_0", manifest, tmp_path / "run")
    assert (result.failed, result.frames, "object ids" in result.meaning) == ({}, 108, True)
    maps = score(tmp_path / "davis/anno_0", annotations, tmp_path / "a", manifest=manifest)
    assert score(tmp_path / "run", annotations, tmp_path / "b") == maps
    with pytest.raises(InputError, match=r"differ by \+1 from the objects .*: 1, 2, 3; its objects: 0, 1, 2\)"):
        bring_in(tmp_path / "davis/anno_0", shapes[0], tmp_path / "other")
    absent = bring_in(tmp_path / "davis/anno_0", shapes[0], tmp_path / "other", force=True)
    assert (absent.failed, "shows its objects (0)" in absent.errors[0]) == ({"missing": 3}, True)
    filled = bring_in(tmp_path / "davis/anno_0", shapes[0], tmp_path / "filled", missing="empty", force=True)
    assert (filled.failed, filled.frames) == ({}, 108)


def test_a_tree_with_gaps_says_so(exported, shapes, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(exported / "tree", tree)
    shutil.rmtree(tree / "shapes-0000/1")
    (tree / "shapes-0001/0/00003.png").unlink()
    shutil.copytree(tree / "shapes-0002/0", tree / "other/0")
    Image.fromarray(np.ones((48, 64), np.uint8) * 255).save(tree / "shapes-0002/2/00000.png")
    code, text = typed("import", "masks", tree, "--manifest", shapes[0], "--out", tmp_path / "run")
    assert code == 1
    assert "9: 6 with masks, 3 without" in text
    assert "video_id=shapes-0000 expression_id=1:" in text
    assert "1 of 12 frames have no mask" in text
    assert "frame 00000: its mask is 64x48, the video 128x96" in text
    assert "left out: 1 not in the manifest: video_id=other expression_id=0" in text
    failed = [status for status in masks(tmp_path / "run")["status"].to_pylist() if status != "ok"]
    assert sorted(failed) == ["bad_row", "missing", "missing"]
    assert audit.run(audit.AuditConfig(run=str(tmp_path / "run"))).exit_code == 0
    result = bring_in(tree, shapes[0], tmp_path / "filled", missing="empty")
    assert (result.failed, result.filled) == ({"missing": 1, "bad_row": 1}, 1)
    filled = masks(tmp_path / "filled")
    assert set(filled["score"].to_pylist()) == set(filled["pair_score"].to_pylist()) == {None}  # as without gaps


def test_an_import_that_was_killed_goes_on_and_is_never_doubled(exported, shapes, tmp_path):
    run = tmp_path / "run"
    bring_in(exported / "tree", shapes[0], run)
    units = sorted(Path(run, "masks").iterdir())
    before = columns(run)
    units[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in units[1:]}
    result = bring_in(exported / "tree", shapes[0], run)
    assert (result.pairs, columns(run)) == (9, before)
    assert {path: path.stat().st_mtime_ns for path in units[1:]} == times
    with pytest.raises(InputError, match="import into another folder"):
        bring_in(exported / "table", shapes[0], run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"video_id": "a"}], "no list 'segmentations'"),
        ([{"video_id": "shapes-0000", "segmentations": [None]}], "has 3 expressions in the manifest"),
        ({"videos": [], "annotations": [{"video_id": 1, "segmentations": []}]}, "unknown video 1"),
        (
            [{"video_id": "a", "expression_id": "0", "segmentations": [None]}],
            "in the manifest: video_id=shapes-0000 expression_id=0; in the masks: video_id=a expression_id=0",
        ),
        ([], "holds no masks"),
        (-1, "is a text file, not masks of another tool"),
        ({"videos": 3, "annotations": 3}, "must be a list, as in YouTube-VIS"),
    ],
)
def test_bad_results(content, message, shapes, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(content))
    code, text = typed("import", "masks", tmp_path / "r.json", "--manifest", shapes[0], "--out", tmp_path / "run")
    assert (code, message in text.replace("\n", " "), storage.exists(str(tmp_path / "run"))) == (2, True, False)


def test_other_bad_input(exported, labelled_run, shapes, tmp_path):
    ours = ["--manifest", shapes[0], "--out", tmp_path / "run"]
    empty = tmp_path / "empty/shapes-0000/0/00000.png"
    empty.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(empty)
    for words, message in (
        (["masks", labelled_run.folder, *ours], "is a run already"),
        (["masks", exported / "tree", "--out", tmp_path / "run"], "need --manifest"),
        (["masks", exported / "tree", "--split", "valid", *ours], "takes no --split"),
        (["mevis", exported / "tree", *ours], "mevis takes no --manifest"),
        (["masks", tmp_path / "empty", *ours], "shows no object in any mask"),
        (["masks", tmp_path / "gone", *ours], "gone"),
        (["masks", exported / "tree", "--manifest", shapes[0], "--out", exported / "tree"], ""),
    ):
        code, text = typed("import", *words)
        assert (code, message in text) == (2, True), text
    assert not (tmp_path / "run").exists()


def test_two_masks_of_a_frame_are_refused(labelled_run, shapes, tmp_path):
    table = masks(labelled_run.folder)
    parquet.write_table(str(tmp_path / "t.parquet"), pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(InputError, match="duplicate frame_index 0"):
        bring_in(tmp_path / "t.parquet", shapes[0], tmp_path / "run")


def renamed(tree, out, name) -> Path:
    """Copy a tree; `name` makes the stem of a file from the number of its frame."""
    for path in tree.rglob("*.png"):
        other = out / path.relative_to(tree).with_name(f"{name(int(path.stem))}.png")
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)
    return out


@pytest.mark.parametrize("missing", ["error", "empty"])
def test_numbers_that_begin_elsewhere_are_refused(missing, exported, shapes, tmp_path):
    """With --missing empty, all masks but one would belong to the frame before."""
    tree = renamed(exported / "tree", tmp_path / "tree", lambda number: f"{number + 1:05d}")
    ours = ["--manifest", shapes[0], "--missing", missing]
    code, text = typed("import", "masks", tree, *ours, "--out", tmp_path / "run")
    assert (code, "differ by +1 from those of the video; renumber them, or" in text) == (2, True)
    code, text = typed("import", "masks", tree, *ours, "--out", tmp_path / "forced", "--force")
    assert code == (0 if missing == "empty" else 1)


@pytest.mark.parametrize("missing", ["error", "empty"])
def test_frames_that_are_numbered_anew_are_refused(missing, exported, shapes, tmp_path):
    """With --missing empty, most masks would be empty, and the others those of other frames."""
    tree = renamed(exported / "tree", tmp_path / "tree", lambda number: f"{5 * number:05d}")
    ours = ["--manifest", shapes[0], "--missing", missing]
    code, text = typed("import", "masks", tree, *ours, "--out", tmp_path / "run")
    assert code == 2
    assert "are of no frame that is asked for (masks: " in text
    assert "name each mask as its frame, or import them as they are with --force" in text
    code, text = typed("import", "masks", tree, *ours, "--out", tmp_path / "forced", "--force")
    assert code == (0 if missing == "empty" else 1)
    assert missing == "empty" or " other masks lie there, the first is " in text


@pytest.mark.parametrize("name", ["{:d}", "{:05d}.png", "frame{:05d}"])
def test_frame_names_that_no_frame_has_are_refused(name, tmp_path):
    """No name meets; one of each side is shown."""
    (tmp_path / "v").mkdir()
    for number in range(3):
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "v" / f"{number:05d}.png")
    row = {"video_id": "v", "video_uri": "v", "expression_id": "0", "expression": "it", "object_ids": ["1"]}
    parquet.write_table(str(tmp_path / "m.parquet"), pa.Table.from_pylist([row]))
    shared = {"video_id": "v", "expression_id": "0", "height": 4, "width": 6, "counts": rle.empty(4, 6)}
    rows = [shared | {"frame_index": frame, "frame_name": name.format(frame)} for frame in range(3)]
    parquet.write_table(str(tmp_path / "t.parquet"), pa.Table.from_pylist(rows))
    ours = ["--manifest", tmp_path / "m.parquet"]
    code, text = typed("import", "masks", tmp_path / "t.parquet", *ours, "--out", tmp_path / "run")
    assert (code, f"(masks: {name.format(0)} ..., frames: 00000 ...)" in text) == (2, True)
    assert typed("import", "masks", tmp_path / "t.parquet", *ours, "--out", tmp_path / "forced", "--force")[0] == 1


def test_expressions_that_are_numbered_from_one_are_refused(exported, shapes, tmp_path):
    """Each sentence would get the masks of the one before."""
    for video in (exported / "tree").iterdir():
        for expression in video.iterdir():
            shutil.copytree(expression, tmp_path / "tree" / video.name / str(int(expression.name) + 1))
    ours = ["--manifest", shapes[0]]
    code, text = typed("import", "masks", tmp_path / "tree", *ours, "--out", tmp_path / "run")
    assert (code, "all expression ids of the masks differ by +1 from the expressions" in text) == (2, True)
    assert typed("import", "masks", tmp_path / "tree", *ours, "--out", tmp_path / "forced", "--force")[0] == 1
    code, text = typed("evaluate", tmp_path / "tree", shapes[1], *ours, "--out", tmp_path / "scores")
    assert (code, "all expression ids of the masks differ by +1 from the expressions" in text) == (2, True)
    assert typed("evaluate", tmp_path / "tree", shapes[1], *ours, "--out", tmp_path / "scores", "--force")[0] == 1


def test_results_whose_files_lie_in_deeper_folders(exported, shapes, tmp_path):
    document = json.loads((exported / "results.json").read_text())
    for video in document["videos"]:
        folder = f"/data/JPEGImages/{video.pop('name')}"
        video["file_names"] = [f"{folder}/{number:05d}.jpg" for number in range(12)]
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert bring_in(tmp_path / "r.json", shapes[0], tmp_path / "run").failed == {}
    assert columns(tmp_path / "run") == columns(bring_in(exported / "results.json", shapes[0], tmp_path / "a").run)


def test_masks_of_frames_that_a_folder_does_not_have(tmp_path):
    """Rows without frame names: by position, of which a folder of frames has only so many."""
    (tmp_path / "v").mkdir()
    for number in range(3):
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "v" / f"{10 * number:03}.png")
    row = {"video_id": "v", "video_uri": "v", "expression_id": "0", "expression": "it", "object_ids": ["1"]}
    parquet.write_table(str(tmp_path / "m.parquet"), pa.Table.from_pylist([row]))

    def imported(out: str, *frames: int) -> import_masks.ImportMasksResult:
        shared = {"video_id": "v", "expression_id": "0", "height": 4, "width": 6}
        counts = rle.encode(np.ones((1, 4, 6), bool))[0]
        rows = [shared | {"frame_index": frame, "counts": counts} for frame in frames]
        parquet.write_table(str(tmp_path / f"{out}.parquet"), pa.Table.from_pylist(rows))
        return bring_in(tmp_path / f"{out}.parquet", str(tmp_path / "m.parquet"), tmp_path / out)

    with pytest.raises(InputError, match=r"all frame numbers of its masks differ by \+1"):
        imported("shifted", 1, 2, 3)
    more = imported("more", 0, 1, 2, 7)
    assert (more.exit_code, [left.count for left in more.skipped]) == (0, [1])
    assert imported("gap", 0, 2, 7).failed == {"missing": 1}


def test_masks_without_numbers_count_in_natural_order(exported, shapes, tmp_path):
    tree = renamed(exported / "tree", tmp_path / "tree", lambda number: f"mask_{number + 1}")
    result = bring_in(tree, shapes[0], tmp_path / "run")
    assert (result.failed, "are not numbers: in video files, masks count in natural order" in result.meaning) == (
        {},
        True,
    )
    assert columns(tmp_path / "run") == columns(bring_in(exported / "tree", shapes[0], tmp_path / "a").run)
    for path in tree.rglob("mask_3.png"):
        path.unlink()
    result = bring_in(tree, shapes[0], tmp_path / "gaps", missing="empty")
    assert (result.failed, result.exit_code) == ({"bad_row": 9}, 1)
    assert "11 masks with names such as mask_1, and 12 frames; name each mask by the number" in result.errors[0]


def test_masks_in_the_order_of_a_manifests_list(exported, shapes, tmp_path):
    """Masks without frame names belong to the frames as the manifest lists them, in any order."""
    rows = read_manifest(shapes[0]).slice(0, 1).to_pylist()
    manifest = str(tmp_path / "m.parquet")
    parquet.write_table(manifest, pa.Table.from_pylist([rows[0] | {"frames": ["00007", "00002"]}]))
    entry = json.loads((exported / "list.json").read_text())[0]
    assert (entry["video_id"], entry["expression_id"]) == (rows[0]["video_id"], rows[0]["expression_id"])
    entry["segmentations"] = [entry["segmentations"][number] for number in (7, 2)]
    (tmp_path / "a.json").write_text(json.dumps([entry]))
    assert bring_in(tmp_path / "a.json", manifest, tmp_path / "run").errors == []
    found = masks(tmp_path / "run")
    whole = masks(bring_in(exported / "list.json", shapes[0], tmp_path / "whole").run).slice(0, 12)
    assert found["frame_index"].to_pylist() == [2, 7]
    assert found["counts"].to_pylist() == [whole["counts"][2].as_py(), whole["counts"][7].as_py()]


def test_values_that_other_programs_write_in_results(exported, shapes, tmp_path):
    """Whole numbers as floats are ids; a score that is a text is no missing score."""
    entries = json.loads((exported / "list.json").read_text())
    for entry in entries:
        entry["expression_id"] = float(entry["expression_id"])
    (tmp_path / "a.json").write_text(json.dumps(entries))
    assert bring_in(tmp_path / "a.json", shapes[0], tmp_path / "run").failed == {}
    mask = entries[0]["segmentations"][0]
    entries[0]["segmentations"][0] = mask | {"counts": str(mask["counts"].encode())}
    entries[1]["segmentations"] = [None, []] * 6  # an empty list is that of no polygons
    for mask in entries[2]["segmentations"]:
        mask["size"] = [float(side) for side in mask["size"]]
    (tmp_path / "c.json").write_text(json.dumps(entries))
    result = bring_in(tmp_path / "c.json", shapes[0], tmp_path / "other")
    assert (result.failed, result.exit_code) == ({"corrupt": 1}, 1)
    assert "write counts.decode() in place of str(counts)" in result.errors[0]
    pair = PairKey(entries[1]["video_id"], f"{entries[1]['expression_id']:.0f}")
    empty = [row for row in masks(tmp_path / "other").to_pylist() if PairKey.of(row) == pair]
    assert [(row["height"], row["width"], row["counts"]) for row in empty] == [(96, 128, rle.empty(96, 128))] * 12


def test_a_folder_of_one_json_file(exported, shapes, tmp_path):
    (tmp_path / "theirs").mkdir()
    shutil.copy(exported / "list.json", tmp_path / "theirs/Results.JSON")
    ours = ["--manifest", shapes[0], "--out", tmp_path / "run"]
    code, text = typed("import", "masks", tmp_path / "theirs", *ours)
    assert (code, "9 with masks" in text) == (0, True), text
    shutil.copy(exported / "list.json", tmp_path / "theirs/b.json")
    code, text = typed("import", "masks", tmp_path / "theirs", *ours)
    assert (code, "holds 2 JSON files; give one of them, such as" in " ".join(text.split())) == (2, True)
    for name in ("gone", "shapes"):
        (tmp_path / "shapes").mkdir(exist_ok=True)
        code, text = typed("import", "masks", tmp_path / name, *ours[:3], tmp_path / "other")
        assert (code, "JSON" in text) == (2, True), text


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_imported_masks_can_be_refined_and_selected(exported, shapes, tmp_path):
    from jobs import refine
    from jobs.config.refine import RefineConfig

    bring_in(exported / "tree", shapes[0], tmp_path / "run")
    sam2 = write_sam2(tmp_path / "sam2", seed=1)
    result = refine.run(
        RefineConfig(run=str(tmp_path / "run"), out=str(tmp_path / "out"), checkpoint=sam2), lambda _: None
    )
    assert (result.pairs, result.failed, keys(masks(tmp_path / "out"))) == (9, {}, keys(masks(tmp_path / "run")))
    config = {"run": str(tmp_path / "out"), "against": (str(tmp_path / "run"),), "out": str(tmp_path / "selected")}
    assert select.run(select.SelectConfig(**config, rule=("other_run >= 0",))).exit_code == 0
    assert len(Run.open(str(tmp_path / "run")).units()) == len(Run.open(str(tmp_path / "out")).units())


@pytest.mark.s3
def test_into_s3(exported, shapes, s3, tmp_path):
    result = bring_in(exported / "tree", shapes[0], f"{s3}/imported/run")
    assert (result.failed, result.frames) == ({}, 108)
    assert bring_in(exported / "tree", shapes[0], f"{s3}/imported/run").there_before == 9


@pytest.mark.parametrize("form", ["review", "webdataset"])
def test_exports_that_are_not_read_back_are_named(form, labelled_run, shapes, tmp_path):
    assert typed("export", form, labelled_run.folder, "--out", tmp_path / "export")[0] == 0
    with pytest.raises(
        InputError, match=f"is an export of the form {form}, which is not read back; give the run itself"
    ):
        bring_in(tmp_path / "export", shapes[0], tmp_path / "run")


def test_an_export_that_did_not_finish_is_refused(shapes, tmp_path):
    manifest, annotations = counted_from_one(str(tmp_path), *shapes)
    made = run_of_truth(str(tmp_path / "made"), manifest, annotations)
    assert typed("export", "davis", made.folder, "--out", tmp_path / "davis")[0] == 0
    document = tmp_path / "davis/_export.json"
    document.write_text(document.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(InputError, match="is an export that did not finish; repeat 'rvos export'"):
        bring_in(tmp_path / "davis", manifest, tmp_path / "run")


ODD_IDS = [
    "the red one",
    "\u043a\u0440\u0430\u0441\u043d\u044b\u0439",
    "-1",
    "E",
    "e",
    "x" * 200,
    "01",
    "1",
    "0.5",
    "50%",
    "#",
]


@pytest.mark.parametrize("video", ["my clip", "caf\u00e9", "cafe\u0301", "-a", "007", "a.b", "a%20b", "v" * 200])
def test_odd_ids_come_back_from_every_export(video, tmp_path):
    size = 32, 48
    for frame in range(2):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(np.full((*size, 3), 90 * frame, np.uint8)).save(tmp_path / f"frames/{frame:05}.png")
    pairs, rows = [], []
    for number, expression in enumerate(ODD_IDS):
        ids = {"video_id": video, "expression_id": expression}
        pairs.append(ids | {"video_uri": str(tmp_path / "frames"), "expression": "x"})
        mask = np.zeros((2, *size), bool)
        mask[:, 4 : 8 + number, 6 : 20 + number] = True
        found = rle.encode(mask)
        rows += [
            ids | {"frame_index": n, "height": 32, "width": 48, "counts": counts} for n, counts in enumerate(found)
        ]
    pq.write_table(pa.Table.from_pylist(pairs), tmp_path / "m.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    bring_in(tmp_path / "p.parquet", tmp_path / "m.parquet", tmp_path / "run")
    expected = columns(tmp_path / "run", ("expression_id", *SCORED))
    assert typed("export", "coco-video", tmp_path / "run", "--out", tmp_path / "c.json")[0] == 0
    assert typed("export", "submission", tmp_path / "run", "--for", "mevis", "--out", tmp_path / "s.zip")[0] == 0
    shutil.unpack_archive(tmp_path / "s.zip", tmp_path / "s")
    assert typed("compact", tmp_path / "run", "--out", tmp_path / "table")[0] == 0
    for form in ("c.json", "s", "table"):
        bring_in(tmp_path / form, tmp_path / "m.parquet", tmp_path / f"back-{form}")
        assert columns(tmp_path / f"back-{form}", ("expression_id", *SCORED)) == expected


def test_videos_that_moved_are_taken_from_the_corrected_manifest(exported, shapes, tmp_path):
    """It needs no --rebase, since it reads masks, not videos. Other changes are refused with a way out that it has."""
    table = pq.read_table(shapes[0])
    uris = [str(tmp_path / "old" / uri) for uri in table["video_uri"].to_pylist()]
    moved = [uri.replace("/old/", "/new/") for uri in uris]
    shutil.copytree(storage.parent(shapes[0]), tmp_path / "old")

    def again(uris: list[str], first: int = 0, **columns: list) -> ImportMasksResult:
        changed = table.set_column(table.column_names.index("video_uri"), "video_uri", pa.array(uris))
        for column, values in columns.items():
            changed = changed.set_column(changed.column_names.index(column), column, pa.array(values))
        pq.write_table(changed[first:], tmp_path / "manifest.parquet")
        return bring_in(exported / "table", tmp_path / "manifest.parquet", tmp_path / "run")

    def now() -> list[str]:
        return sorted(Run.open(str(tmp_path / "run")).manifest()["video_uri"].to_pylist())

    rows = table.num_rows
    assert again(uris, first=2).there_before == 0
    (tmp_path / "old").rename(tmp_path / "new")
    more = again(moved)  # with two rows more, one of a video that is planned already
    assert (more.there_before, more.failed) == (rows - 2, {})
    assert now() == sorted(moved)
    for place in (uris, moved):
        assert again(place).there_before == rows
        assert now() == sorted(place)
    with pytest.raises(InputError, match="rows changed .*restore these rows, or import into another folder") as found:
        again(moved, expression=["another"] * rows)
    assert "--rebase" not in str(found.value)
    assert now() == sorted(moved)
