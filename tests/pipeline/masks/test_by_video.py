"""The pairs to export: all of them, in order, from runs, compacted sets and any Parquet."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io import parquet, storage
from pipeline.masks.by_video import MaskSource
from pipeline.masks.predictions import open_predictions
from pipeline.masks.row_groups import read_row_groups
from pipeline.runs.compact import compact_run
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import make_older, rows_of, run_of_truth


def content(source: MaskSource) -> list[tuple]:
    return [
        (pair.video_id, pair.expression_id, pair.problem, tuple(row["counts"] for row in pair.rows()))
        for video in source.videos()
        for pair in video
    ]


def test_run_compacted_set_and_scattered_parquet_are_the_same(labelled_run, shapes, tmp_path):
    run = MaskSource.open(labelled_run.folder)
    expected = content(run)
    assert len(expected) == 9
    assert [pair[:2] for pair in expected] == sorted(pair[:2] for pair in expected)
    assert all(problem is None and len(masks) == 12 for _, _, problem, masks in expected)
    assert run.require_manifest().num_rows == 9

    compact_run(labelled_run, str(tmp_path / "compacted"))
    assert content(MaskSource.open(str(tmp_path / "compacted"))) == expected

    units = [parquet.read_table(labelled_run.masks_uri(unit.unit_id)) for unit in labelled_run.units()]
    table = pa.concat_tables(units).drop_columns(["box", "query", "window"])
    shuffled = table.take([(7 * number) % table.num_rows for number in range(table.num_rows)])
    pq.write_table(shuffled, tmp_path / "any.parquet", row_group_size=10)
    loose = MaskSource.open(str(tmp_path / "any.parquet"), shapes[0])
    assert content(loose) == expected
    assert next(loose.videos())[0].row["video_uri"].endswith("shapes-0000.mp4")


def test_progress_counts_the_videos(labelled_run):
    seen = []
    content(replace(MaskSource.open(labelled_run.folder), on_progress=lambda done, total: seen.append((done, total))))
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_older_units_without_margins_are_the_same(labelled_run, shapes, tmp_path):
    run = run_of_truth(str(tmp_path / "run"), *shapes)
    make_older(run.masks_uri(run.units()[0].unit_id))
    assert content(MaskSource.open(run.folder)) == content(MaskSource.open(labelled_run.folder))


def test_every_pair_of_the_manifest_is_there_and_no_other(labelled_run, shapes, tmp_path):
    manifest = pq.read_table(shapes[0])
    rows = manifest.slice(3, 3).to_pylist()
    chosen = pa.Table.from_pylist([*rows, rows[0] | {"expression_id": "9"}], schema=manifest.schema)
    pq.write_table(chosen, tmp_path / "chosen.parquet")
    found = content(MaskSource.open(labelled_run.folder, str(tmp_path / "chosen.parquet")))
    assert [pair[:2] for pair in found] == [("shapes-0001", name) for name in "0129"]
    assert [pair[2] for pair in found] == [None] * 3 + ["the predictions do not contain this pair"]


def test_a_few_pairs_are_read_alone(labelled_run, shapes, tmp_path):
    wanted = {("shapes-0002", "1"), ("shapes-0000", "2"), ("gone", "0")}
    found = list(MaskSource.open(labelled_run.folder).some(wanted))
    assert [(pair.video_id, pair.expression_id) for pair in found] == [("shapes-0000", "2"), ("shapes-0002", "1")]
    assert all(pair.frames.num_rows == 12 and pair.row["video_uri"].endswith(".mp4") for pair in found)
    (loose,) = MaskSource.open(storage.join(labelled_run.folder, "masks")).some({("shapes-0001", "0")})
    assert loose.row == {"video_id": "shapes-0001", "expression_id": "0"}


def test_the_error_of_a_failed_pair_comes_along(run_with_failure):
    (failed,) = [pair for pair in content(MaskSource.open(run_with_failure.folder)) if pair[2]]
    assert failed == ("shapes-0000", "1", "gone", ())


def test_what_cannot_be_exported_is_refused(labelled_run, shapes, tmp_path):
    with pytest.raises(InputError, match="no predictions at"):
        MaskSource.open(str(tmp_path / "none"))
    run = run_of_truth(str(tmp_path / "run"), *shapes)
    storage.remove(run.masks_uri(run.units()[0].unit_id))
    with pytest.raises(InputError, match="is not finished: it lacks 1 of [0-9]+ unit"):
        MaskSource.open(run.folder)
    pq.write_table(pa.concat_tables([rows_of("v", "0"), rows_of("v", "0", 1)]), tmp_path / "twice.parquet")
    source = MaskSource.open(str(tmp_path / "twice.parquet"))
    with pytest.raises(InputError, match="video_id=v expression_id=0: duplicate frame_index 0"):
        list(source.videos())
    with pytest.raises(InputError, match="give its manifest with --manifest"):
        source.require_manifest()
    named = [row | {"frame_name": "a"} for row in rows_of("v", "0").to_pylist()]
    pq.write_table(pa.Table.from_pylist(named, schema=PREDICTIONS), tmp_path / "named.parquet")
    with pytest.raises(InputError, match="video_id=v expression_id=0: frame a: 3 frames have this name"):
        list(MaskSource.open(str(tmp_path / "named.parquet")).videos())
    (tmp_path / "tree/v").mkdir(parents=True)
    (tmp_path / "tree/v/00000.png").touch()
    with pytest.raises(InputError, match="tree of PNGs"):
        MaskSource.open(str(tmp_path / "tree"))


def test_a_broken_mask_is_named(tmp_path):
    rows = rows_of("v", "0", 2).to_pylist()
    rows[1]["counts"] = b"44"
    pq.write_table(pa.Table.from_pylist(rows, schema=rows_of("v", "0").schema), tmp_path / "m.parquet")
    ((pair,),) = MaskSource.open(str(tmp_path / "m.parquet")).videos()
    with pytest.raises(InputError, match="video_id=v expression_id=0: frame 00001: runs total 8"):
        pair.mask(pair.rows()[1])


def test_a_compacted_set_that_lost_a_part_is_refused(labelled_run, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runs.compact.FILE_BYTES", 1)  # a part for each video
    out = tmp_path / "compacted"
    compact_run(labelled_run, str(out))
    (part,) = out.glob("part-00001-*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(
        InputError, match=r"part-00001-.*\.parquet has .* bytes in place of .*; compact .* to a new folder"
    ):
        MaskSource.open(str(out))
    part.unlink()
    for read in (MaskSource.open, open_predictions):
        with pytest.raises(InputError, match=r"part-00001-.*\.parquet is missing, and _compact\.json lists it"):
            read(str(out))
    (out / "_compact.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*_compact\.json"):
        MaskSource.open(str(out))


@pytest.mark.parametrize("column", ["height", "width", "counts"])
def test_a_frame_without_a_mask_is_named(tmp_path, column):
    rows = [row | {column: None} if row["frame_index"] == 1 else row for row in rows_of("w", "0").to_pylist()]
    table = pa.concat_tables([rows_of("v", "0"), pa.Table.from_pylist(rows, schema=PREDICTIONS)])
    pq.write_table(table, tmp_path / "m.parquet")
    source = open_predictions(str(tmp_path / "m.parquet"))
    groups = [group for group, _ in source.row_groups()]
    assert len(read_row_groups(groups, {"v"})) == 3  # the rows of other videos do not matter
    message = f"video_id=w expression_id=0: frame 00001: column '{column}' is null"
    with pytest.raises(InputError, match=message):
        read_row_groups(groups, {"w"})
