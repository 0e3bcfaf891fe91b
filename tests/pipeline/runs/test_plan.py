import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runs.plan import PlanOptions, compare_with_plan, limited_rows, pair_frames, plan_part, row_hashes
from schemas.errors import InputError


def manifest(videos: dict[str, tuple[int, int]], **columns) -> pa.Table:
    """One row per pair; `videos` maps an id to (frames, expressions)."""
    rows = [
        {
            "video_id": video,
            "video_uri": f"/{video}.mp4",
            "expression_id": str(i),
            "expression": "x",
            "num_frames": frames,
        }
        for video, (frames, expressions) in videos.items()
        for i in range(expressions)
    ]
    table = pa.Table.from_pylist(rows)
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1
    ),
    st.integers(1, 200),
)
def test_every_pair_is_in_exactly_one_unit_of_bounded_size(videos, target):
    table = manifest(videos)
    part = plan_part(table, "f", PlanOptions(unit_frames=target))
    keys = list(zip(part["video_id"].to_pylist(), part["expression_id"].to_pylist(), strict=True))
    assert sorted(keys) == sorted(zip(table["video_id"].to_pylist(), table["expression_id"].to_pylist(), strict=True))
    units = {}
    for row in part.to_pylist():
        units.setdefault(row["unit_id"], []).append(row)
    sizes = [sum(row["pair_frames"] for row in rows) for rows in units.values()]
    assert sizes == sorted(sizes, reverse=True)
    for rows, size in zip(units.values(), sizes, strict=True):
        several_videos = len({row["video_id"] for row in rows}) > 1
        assert not several_videos or size <= target
        assert len(rows) == 1 or size <= 4 * target
    for video, (frames, expressions) in videos.items():
        if frames * expressions <= 4 * target:
            assert len({row["unit_id"] for row in part.to_pylist() if row["video_id"] == video}) == 1


def test_unit_ids_depend_on_pairs_and_fingerprint_only():
    table = manifest({"a": (5, 2), "b": (5, 2)})
    ids = plan_part(table, "f", PlanOptions(unit_frames=10))["unit_id"].to_pylist()
    shuffled = plan_part(table.take([3, 1, 0, 2]), "f", PlanOptions(unit_frames=10))["unit_id"].to_pylist()
    assert ids == shuffled
    assert not set(ids) & set(plan_part(table, "g", PlanOptions(unit_frames=10))["unit_id"].to_pylist())


def test_lengths_come_from_the_list_then_from_num_frames():
    table = manifest({"a": (10, 3)})
    table = table.append_column("frames", pa.array([["x", "y"], None, None], pa.list_(pa.string())))
    table = table.append_column("frame_indices", pa.array([None, [1, 2, 3], None], pa.list_(pa.int32())))
    assert pair_frames(table, PlanOptions(frame_step=4)).to_pylist() == [2, 3, 3]
    assert pair_frames(
        table.drop_columns(["num_frames", "frames", "frame_indices"]), PlanOptions(frame_step=5)
    ).to_pylist() == [20, 20, 20]


def test_hashes_change_with_what_is_asked_for_and_only_with_it():
    table = manifest({"a": (10, 1)})
    same = table.append_column("category", pa.array(["dog"])).drop_columns(["num_frames"])
    assert row_hashes(table) == row_hashes(same)
    for name, value in {
        "frames": pa.array([["1"]]),
        "frame_indices": pa.array([[1]], pa.list_(pa.int32())),
        "target_frames": pa.array([["1"]]),
    }.items():
        assert row_hashes(table) != row_hashes(table.append_column(name, value))
    assert row_hashes(table) != row_hashes(table.set_column(3, "expression", pa.array(["y"])))


def test_a_grown_manifest_gives_its_new_rows():
    planned = plan_part(manifest({"a": (5, 2)}), "f", PlanOptions(unit_frames=10))
    new = compare_with_plan(manifest({"b": (5, 1), "a": (5, 3)}), planned, "m")
    assert list(zip(new["video_id"].to_pylist(), new["expression_id"].to_pylist(), strict=True)) == [
        ("b", "0"),
        ("a", "2"),
    ]


def test_changed_and_vanished_rows_are_refused_by_name():
    planned = plan_part(manifest({"a": (5, 2)}), "f", PlanOptions(unit_frames=10))
    with pytest.raises(InputError, match="1 planned row removed .video_id=a expression_id=1"):
        compare_with_plan(manifest({"a": (5, 1)}), planned, "m")
    table = manifest({"a": (5, 2)})
    table = table.set_column(3, "expression", pa.array(["x", "changed"]))
    with pytest.raises(InputError, match="1 planned row changed .video_id=a expression_id=1"):
        compare_with_plan(table, planned, "m")


@pytest.mark.slow
def test_a_column_of_more_than_two_gigabytes_is_planned():
    count = 22
    one = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["x" * (100 * 2**20)]))  # one buffer
    column = pa.chunked_array([one] * count)
    ids = [f"v{number:02}" for number in range(count)]
    rows = {"video_id": ids, "video_uri": ids, "expression_id": ["0"] * count, "expression": ["x"] * count}
    part = plan_part(pa.table(rows | {"more": column}), "f", PlanOptions())
    assert part["more"].type == one.type
    assert (part.num_rows, part.nbytes > 2**31) == (count, True)
    assert part.schema.equals(part.slice(0, 1).schema)


def test_a_limit_counts_rows_or_whole_videos():
    table, together = manifest({"a": (5, 2), "b": (5, 3), "c": (5, 1)}), PlanOptions(whole_videos=True)
    assert limited_rows(table, 3, None, PlanOptions()).num_rows == 3
    assert limited_rows(table, None, None, PlanOptions()).num_rows == 6
    assert limited_rows(table, 3, None, together)["video_id"].to_pylist() == ["a"] * 2 + ["b"] * 3
    assert limited_rows(table, 0, None, together).num_rows == 0
    planned = table.slice(0, 2).select(["video_id"])
    assert limited_rows(table.slice(2), 1, planned, together)["video_id"].to_pylist() == ["b"] * 3
    with pytest.raises(InputError, match=r"video_id=a expression_id=1 is new, but other expressions of its video"):
        limited_rows(table.slice(1), None, table.slice(0, 1).select(["video_id"]), together)
