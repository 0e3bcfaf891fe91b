"""Masks that exclude each other: groups go to the model together and fail together."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import PairState, share_failures
from pipeline.segment.exclusive_masks import by_group, group_of, require_groups
from schemas.errors import InputError
from tests.one_unit import segment_unit
from tests.pipeline.segment.fake import FakeSegmenter, unit_job


class GroupSegmenter(FakeSegmenter):
    """Keeps the sizes of the groups of each call."""

    def __init__(self):
        super().__init__()
        self.groups = []

    def segment(self, frames, size, expressions, keep=None, overlap=None, exclusive=()):
        self.groups.append(list(exclusive))
        return super().segment(frames, size, expressions, keep, overlap)


def segment(tmp_path, video, expressions: dict[str, str], window=3) -> tuple[dict[str, list[dict]], GroupSegmenter]:
    """Masks or errors by expression."""
    rows = [
        {"video_id": "v", "video_uri": video, "expression_id": number, "expression": text}
        for number, text in expressions.items()
    ]
    segmenter, found = GroupSegmenter(), {}
    segment_unit(unit_job(str(tmp_path / "u.parquet"), rows), segmenter, FrameOptions(window=window, exclusive=True))
    for row in pq.read_table(tmp_path / "u.parquet").to_pylist():
        found.setdefault(row["expression_id"], []).append(row)
    return found, segmenter


def test_a_call_holds_whole_groups_in_the_order_of_the_objects(tmp_path, video):
    found, segmenter = segment(
        tmp_path, video, {number: f"text {number}" for number in ("8", "1", "0", "12", "5", "4")}
    )
    assert segmenter.groups == [[4, 2]] * 2
    assert segmenter.calls[0][1] == [f"text {number}" for number in (0, 4, 8, 12, 1, 5)]
    assert {number: len(rows) for number, rows in found.items()} == dict.fromkeys(("0", "4", "8", "12", "1", "5"), 5)


@pytest.mark.parametrize("window", [3, 36])
@pytest.mark.parametrize(
    ("text", "status"), [("nan", "nan"), ("", "bad_row"), ("word " * 600, "bad_row"), ("out of memory", "oom")]
)
def test_with_one_expression_its_group_fails_and_no_other(tmp_path, video, text, status, window):
    found, _ = segment(tmp_path, video, {"0": "a", "4": text, "1": "b", "5": "c"}, window)
    assert {number: len(rows) for number, rows in found.items()} == {"0": 1, "4": 1, "1": 5, "5": 5}
    assert {row["status"] for number in ("1", "5") for row in found[number]} == {"ok"}
    assert [found[number][0]["status"] for number in ("0", "4")] == [status, status]
    errors = [found[number][0]["error"].partition(": ")[2] for number in ("0", "4")]
    (shared,) = (error for error in errors if error.startswith("its mask excludes that of video_id=v expression_id="))
    (own,) = set(errors) - {shared}
    assert shared.endswith(f", which failed: {own}")


def test_a_video_that_breaks_off_fails_for_its_own_reason(tmp_path, video):
    frame = tmp_path / "video/00003.png"
    content = frame.read_bytes()
    frame.write_bytes(content.replace(b"IDAT", b"IDAT" + bytes(8))[: len(content)])
    found, segmenter = segment(tmp_path, video, {"0": "a", "4": "b", "1": "c"}, window=2)
    assert len(segmenter.calls) == 1
    for rows in found.values():
        (row,) = rows
        assert row["status"] == "corrupt"
        assert "00003" in row["error"]
        assert "excludes" not in row["error"]


def test_failures_are_shared_within_groups_only():
    def state(number: int, group: str | None, failure: tuple[str, str] | None = None) -> PairState:
        return PairState(number, {"video_id": "v", "expression_id": str(number)}, failure=failure, group=group)

    pairs = [state(0, "a"), state(1, "a", ("nan", "why")), state(2, "b"), state(3, None, ("nan", "x")), state(4, None)]
    for _ in range(2):  # a second time changes nothing
        share_failures(pairs)
        assert [pair.failure and pair.failure[1] for pair in pairs] == [
            "its mask excludes that of video_id=v expression_id=1, which failed: why", "why", None, "x", None,
        ]  # fmt: skip


def test_groups_are_annotators_by_column_or_number():
    rows = [{"video_id": "v", "expression_id": number} for number in ("10", "2", "9", "1")]
    assert [row["expression_id"] for row in sorted(rows, key=by_group)] == ["1", "9", "2", "10"]
    assert group_of({"video_id": "v", "expression_id": "10", "annotator": "me"}) == "me"
    with pytest.raises(InputError, match=r"expression_id=first: its annotator is unknown; add a column annotator"):
        group_of({"video_id": "v", "expression_id": "first"})


def test_a_group_lists_the_same_frames():
    rows = [
        {"video_id": "v", "expression_id": number, "frames": frames}
        for number, frames in (("0", ["1", "2"]), ("1", ["1"]), ("4", ["1", "2"]))
    ]
    require_groups(pa.Table.from_pylist(rows))
    rows[2]["frames"] = ["2"]
    with pytest.raises(InputError, match=r"expression_id=4: it lists other frames than expression 0 of the same"):
        require_groups(pa.Table.from_pylist(rows))
