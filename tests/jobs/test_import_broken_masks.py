"""`rvos import masks` of broken masks and impossible scores: one costs its pair, or the import says why it stops."""

import json
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs import audit
from pipeline.io import parquet
from pipeline.masks.by_video import MaskSource
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from tests.handmade import counted_from_one, run_of_truth
from tests.imported import SCORED, bring_in, typed
from tests.segmented import masks


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": "0.5"}, "the score '0.5' is not a number"),
        ({"score": True}, "the score True is not a number"),
        ({"score": 3.5}, "score is 3.5, not 0 to 1; scale the scores, or write null"),
        ({"scores": [0.5] * 11}, "'scores' has 11 values for 12 masks; write one for each"),
        ({"scores": {"0": 1}}, "not a list with a number or null for each mask"),
        ({"scores": [0.5] * 11 + [-1]}, "frame 11: score is -1, not 0 to 1"),
        ({"scores": [0.5] * 11 + [10**400]}, "frame 11: score is inf, not 0 to 1"),
    ],
)
def test_scores_in_json_are_numbers_from_0_to_1(values, message, exported, shapes, tmp_path):
    entries = json.loads((exported / "list.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps([entries[0] | values, *entries[1:]]))
    code, text = typed("import", "masks", tmp_path / "a.json", "--manifest", shapes[0], "--out", tmp_path / "run")
    assert (code, message in " ".join(text.split())) == (2, True), text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("column", ["score", "pair_score", "margin"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, -2.0])
def test_scores_in_tables_are_numbers_from_0_to_1(column, value, labelled_run, shapes, tmp_path):
    """Also where the table is scored or selected from."""
    table = masks(labelled_run.folder)
    values = [*([0.5] * 7), value, *([None] * (len(table) - 8))]
    at = table.column_names.index(column)
    bad = table.set_column(at, table.schema.field(column), pa.array(values, pa.float32()))
    parquet.write_table(str(tmp_path / "t.parquet"), bad)
    given = [tmp_path / "t.parquet", "--out", tmp_path / "out", "--manifest", shapes[0]]
    commands = [["import", "masks", *given], ["select", *given]]
    if column == "score":
        commands.append(["evaluate", given[0], shapes[1], *given[1:], "--protocol", "all-frames"])
    for words in commands:
        code, text = typed(*words)
        least = -1 if column == "margin" else 0
        assert (code, f"frame 7: {column} is {value:g}, not {least} to 1" in " ".join(text.split())) == (2, True), text
        assert words[0] != "import" or not (tmp_path / "out").exists()


def truncated(mask) -> dict:
    return mask | {"counts": mask["counts"][:-3]}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (truncated, "frame 00003: "),
        (lambda mask: mask | {"size": [95, 128]}, "frame of 95x128 has"),
        (lambda mask: mask | {"size": [96]}, "not an RLE of the form"),
        (lambda mask: mask | {"size": [96.5, 128]}, "size must be two whole numbers"),
        (lambda mask: mask | {"counts": [5, 7]}, "runs total 12"),
        (lambda mask: "mask", "not an RLE of the form"),
        (lambda mask: [[0, 0, 5, 0, 5, 5]], "it is a polygon; write it as RLE"),
    ],
)
@pytest.mark.parametrize("form", ["results.json", "list.json"])
def test_one_broken_mask_in_json_costs_one_pair(form, broken, message, exported, shapes, tmp_path):
    content = json.loads((exported / form).read_text())
    entry = (content["annotations"] if form == "results.json" else content)[4]
    entry["segmentations"][3] = broken(entry["segmentations"][3])
    (tmp_path / "a.json").write_text(json.dumps(content))
    check_one_pair_failed(tmp_path / "a.json", message, "corrupt", exported, shapes, tmp_path)


def check_one_pair_failed(source, message, status, exported, shapes, tmp_path) -> None:
    result = bring_in(source, shapes[0], tmp_path / "run")
    assert (result.failed, result.exit_code, len(result.errors)) == ({status: 1}, 1, 1)
    assert "video_id=shapes-0001 expression_id=1" in result.errors[0]
    assert message in result.errors[0]
    table, whole = masks(tmp_path / "run"), masks(bring_in(exported / "table", shapes[0], tmp_path / "whole").run)
    failed = pc.and_(pc.equal(whole["video_id"], "shapes-0001"), pc.equal(whole["expression_id"], "1"))
    others = whole.filter(pc.invert(failed)).select(SCORED)
    assert table.filter(pc.is_valid(table["frame_index"])).select(SCORED).equals(others)
    assert audit.run(audit.AuditConfig(run=str(tmp_path / "run"))).exit_code == 0


@pytest.mark.parametrize(
    ("values", "message", "status"),
    [
        ({"counts": b"0"}, "frame 00003: ", "corrupt"),
        ({"counts": None}, "frame 00003: column 'counts' is null", "corrupt"),
        ({"height": None}, "frame 00003: column 'height' is null", "corrupt"),
        ({"height": 95}, "frame 00003: its mask is 128x95, the video 128x96", "bad_row"),
        ({"status": "oom", "error": "no memory"}, "frame 00003: no memory", "oom"),
        ({"status": "failed"}, "frame 00003: its status is 'failed': the table gives no reason", "bad_row"),
    ],
)
def test_one_broken_row_in_parquet_costs_one_pair(values, message, status, exported, labelled_run, shapes, tmp_path):
    rows = masks(labelled_run.folder).to_pylist()
    row = next(row for row in rows if (*PairKey.of(row), row["frame_index"]) == ("shapes-0001", "1", 3))
    row |= values
    parquet.write_table(str(tmp_path / "t.parquet"), pa.Table.from_pylist(rows, schema=PREDICTIONS))
    check_one_pair_failed(tmp_path / "t.parquet", message, status, exported, shapes, tmp_path)


def test_a_failed_row_beside_masks_is_a_failed_pair(labelled_run, shapes, tmp_path):
    """Another tool may write masks, then note that it failed. Selections and exports leave the pair out too."""
    rows = masks(labelled_run.folder).to_pylist()
    ids = {"video_id": "shapes-0001", "expression_id": "1"}
    rows.append(ids | {"status": "timeout", "error": "given up"})
    parquet.write_table(str(tmp_path / "t.parquet"), pa.Table.from_pylist(rows, schema=PREDICTIONS))
    result = bring_in(tmp_path / "t.parquet", shapes[0], tmp_path / "run")
    assert (result.failed, "given up" in result.errors[0]) == ({"timeout": 1}, True)
    source = MaskSource.open(str(tmp_path / "t.parquet"), shapes[0])
    problems = {pair.key: pair.problem for pairs in source.videos() for pair in pairs if pair.problem}
    assert problems == {PairKey(**ids): "given up"}


def test_one_broken_png_costs_its_pairs(exported, shapes, tmp_path):
    tree = shutil.copytree(exported / "tree", tmp_path / "tree")
    broken = tree / "shapes-0001/1/00003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    check_one_pair_failed(tree, "00003.png", "corrupt", exported, shapes, tmp_path)
    (tree / "shapes-0000/0/00000.png").write_bytes(b"")
    with pytest.raises(InputError, match="import into another folder"):
        bring_in(tree, shapes[0], tmp_path / "run")
    for path in tree.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of the 108 PNGs"):
        bring_in(tree, shapes[0], tmp_path / "none")


def test_one_broken_label_map_costs_the_pairs_of_its_video(shapes, tmp_path):
    manifest, annotations = counted_from_one(str(tmp_path), *shapes)
    made = run_of_truth(str(tmp_path / "made"), manifest, annotations)
    assert typed("export", "davis", made.folder, "--out", tmp_path / "davis")[0] == 0
    (tmp_path / "davis/anno_0/shapes-0001/00003.png").write_bytes(b"no picture")
    result = bring_in(tmp_path / "davis/anno_0", manifest, tmp_path / "run")
    assert (result.failed, result.frames) == ({"corrupt": 3}, 72)
