import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.segment.clips import ClipEnd, FrameOptions, Window, read_windows, require_context, split_rows
from schemas.errors import InputError

ROW = {"video_id": "v", "expression_id": "0", "expression": "a dog"}


@pytest.fixture
def video(tmp_path):
    """A folder of seven frames, frame i of grey level i."""
    for i in range(7):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(tmp_path / f"{i * 5:05}.png")
    return str(tmp_path)


def read(video, options, **row):
    clips, bad = split_rows([ROW | {"video_uri": video} | row], options)
    assert not bad
    *windows, end = read_windows(clips, options, lambda frame: frame[::2, ::2])
    assert all(isinstance(window, Window) for window in windows)
    assert isinstance(end, ClipEnd)
    return windows, end


def test_windows_are_consecutive_and_the_last_one_is_shorter(video):
    windows, end = read(video, FrameOptions(window=3))
    assert [window.indices for window in windows] == [[0, 1, 2], [3, 4, 5], [6]]
    assert windows[1].names == ["00015", "00020", "00025"]
    assert windows[0].size == (20, 30)
    assert windows[0].frames[2].shape == (10, 15, 3)
    assert windows[2].frames[0][0, 0, 0] == 6
    assert end.error is None


@pytest.mark.parametrize(
    ("window", "overlap", "frames", "expected"),
    [
        (3, 1, 7, [range(3), range(2, 5), range(4, 7)]),
        (4, 1, 6, [range(4), range(2, 6)]),  # the last one is shifted back: 2 frames are shared
        (4, 3, 6, [range(4), range(1, 5), range(2, 6)]),
        (5, 1, 6, [range(5), range(1, 6)]),
        (7, 2, 7, [range(7)]),
        (9, 4, 7, [range(7)]),
        (3, 2, 1, [range(1)]),
    ],
)
def test_windows_share_frames_and_all_but_short_videos_are_full(video, window, overlap, frames, expected):
    windows, end = read(video, FrameOptions(window=window, overlap=overlap), frame_indices=list(range(frames)))
    assert [window.indices for window in windows] == [list(numbers) for numbers in expected]
    assert [window.start for window in windows] == [numbers.start for numbers in expected]
    assert [window.final for window in windows] == [*(numbers.start for numbers in expected[1:]), frames]
    for found in windows:
        assert found.names == [f"{5 * index:05}" for index in found.indices]
        assert [frame[0, 0, 0] for frame in found.frames] == found.indices
    assert end.error is None


def test_windows_without_overlap_share_nothing(video):
    windows, _ = read(video, FrameOptions(window=3))
    assert {(window.start, window.final) for window in windows} == {(0, None)}


def test_windows_that_share_frames_are_streamed(video):
    """Besides the one that is handed on, the next one is there, and nothing else."""
    prepared = []
    (clip,), _ = split_rows([ROW | {"video_uri": video}], FrameOptions())
    windows = read_windows([clip], FrameOptions(window=3, overlap=1), lambda frame: prepared.append(1) or frame)
    read_by_then = []
    for _ in windows:
        read_by_then.append(len(prepared))
    assert read_by_then == [5, 7, 7, 7]  # a window is known to be full when it is, the last one at the end


def test_an_error_in_a_later_window_ends_a_clip_whose_windows_share_frames(video, tmp_path):
    (tmp_path / "00030.png").write_bytes(b"not an image")
    windows, end = read(video, FrameOptions(window=3, overlap=1))
    assert [window.indices for window in windows] == [[0, 1, 2]]
    assert end.error.status == "corrupt"


def test_whole_is_one_window_up_to_its_limit(video):
    windows, _ = read(video, FrameOptions(window=None, max_whole_frames=7))
    assert [len(window.frames) for window in windows] == [7]
    windows, end = read(video, FrameOptions(window=None, max_whole_frames=6))
    assert windows == []
    assert end.error.status == "bad_row"
    assert "--max-whole-frames" in str(end.error)


def test_frame_step_applies_where_a_row_lists_no_frames(video):
    windows, _ = read(video, FrameOptions(frame_step=3))
    assert windows[0].indices == [0, 3, 6]
    windows, _ = read(video, FrameOptions(frame_step=3), frame_indices=[1, 2])
    assert windows[0].indices == [1, 2]
    windows, _ = read(video, FrameOptions(frame_step=3), frames=["00005", "00030"])
    assert windows[0].indices == [1, 6]


def test_rows_with_the_same_frames_share_one_clip(video):
    rows = [ROW | {"video_uri": video, "expression_id": str(i), "frames": names} for i, names in
            enumerate([None, None, ["00000"], ["00000"], None])]  # fmt: skip
    clips, _ = split_rows(rows, FrameOptions())
    assert [[pair["expression_id"] for pair in clip.pairs] for clip in clips] == [["0", "1", "4"], ["2", "3"]]


def test_bad_rows_are_told_apart():
    clips, bad = split_rows([ROW | {"video_uri": "v", "expression": ""}, ROW | {"video_uri": "v"}], FrameOptions())
    assert len(clips) == 1
    assert "empty" in bad[0][1]


def test_a_missing_target_frame_ends_the_clip_with_an_error(video):
    _, end = read(video, FrameOptions(), target_frames=["00007"])
    assert end.error.status == "missing"
    assert "00007" in str(end.error)


def test_frames_that_the_model_cannot_take_end_the_clip_with_an_error(video):
    def refuse(frame):
        raise ValueError("a frame of 30x20 becomes 540x360000")

    (clip,), _ = split_rows([ROW | {"video_uri": video}], FrameOptions())
    (end,) = read_windows([clip], FrameOptions(), refuse)
    assert end.error.status == "bad_row"
    assert "frame 00000: a frame of 30x20" in str(end.error)
    assert "--max-size" in str(end.error)


def test_a_missing_video_ends_its_clip_and_the_next_one_is_read(video):
    rows = [ROW | {"video_uri": "/none.mp4"}, ROW | {"video_id": "w", "video_uri": video}]
    clips, _ = split_rows(rows, FrameOptions())
    missing, window, end = read_windows(clips, FrameOptions(), lambda frame: frame)
    assert missing.error.status == "missing"
    assert len(window.frames) == 7
    assert end.error is None


@pytest.mark.parametrize(
    ("listed", "target", "expected"),
    [
        ([0, 1, 2], "00000", [0, 0, 0, 1, 2]),
        ([0, 1, 2, 3], "00005", [0, 0, 1, 2, 3]),
        ([1, 2, 3, 4, 5], "00015", [1, 2, 3, 4, 5]),
        ([4, 5, 6], "00030", [4, 5, 6, 6, 6]),
        ([3], "00015", [3, 3, 3, 3, 3]),
    ],
)
def test_context_puts_the_target_in_the_middle_and_repeats_the_ends(video, listed, target, expected):
    options = FrameOptions(window=5, context=True)
    (window,), end = read(video, options, frame_indices=listed, target_frames=[target])
    assert end.error is None
    assert window.indices == expected
    assert window.names[2] == target
    assert [frame[0, 0, 0] for frame in window.frames] == expected


@pytest.mark.parametrize(("listed", "target"), [([0, 1, 2, 3, 4], "00000"), ([0, 1, 2], "00030")])
def test_a_target_that_cannot_be_in_the_middle_is_a_bad_row(video, listed, target):
    (clip,), _ = split_rows(
        [ROW | {"video_uri": video, "frame_indices": listed, "target_frames": [target]}],
        options := FrameOptions(window=5, context=True, allow_short=True),
    )
    *_, end = read_windows([clip], options, lambda frame: frame)
    assert end.error.status == "bad_row"
    assert "import the data set with --context 5" in str(end.error)


@pytest.mark.parametrize(
    ("row", "good"),
    [
        ({"target_frames": ["1"], "frame_indices": [0, 1, 2]}, True),
        ({"target_frames": ["1"], "frames": ["1"]}, True),
        ({"target_frames": ["1", "2"], "frame_indices": [0, 1, 2]}, False),
        ({"target_frames": ["1"], "frame_indices": [0, 1, 2, 3]}, False),
        ({"target_frames": None, "frame_indices": [0]}, False),
        ({"target_frames": ["1"]}, False),
        ({}, False),
    ],
)
def test_rules_with_context_need_one_target_frame_among_a_few(row, good):
    types = {
        "target_frames": pa.list_(pa.string()),
        "frames": pa.list_(pa.string()),
        "frame_indices": pa.list_(pa.int32()),
    }
    schema = pa.schema([(name, pa.string()) for name in ROW] + [(name, types[name]) for name in row])
    table = pa.Table.from_pylist([ROW | row], schema=schema)
    if good:
        require_context(table, "m.parquet", 3)
    else:
        with pytest.raises(InputError, match=r"m.parquet: video_id=v expression_id=0 is not one target frame among at"):
            require_context(table, "m.parquet", 3)
