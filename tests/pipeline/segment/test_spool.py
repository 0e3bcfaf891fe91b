import pyarrow as pa
import pytest

from pipeline.segment import spool
from pipeline.segment.spool import FRAME_ROWS, FrameSpool


def rows(first: int, count: int, mask: bytes = b"4") -> dict[str, list]:
    return {
        "frame_index": list(range(first, first + count)),
        "frame_name": [f"{i:05}" for i in range(first, first + count)],
        "height": [2] * count,
        "width": [2] * count,
        "counts": [mask] * count,
        "score": [0.5] * count,
        "box": [[0.0, 0.0, 1.0, 1.0]] * count,
        "query": [1] * count,
        "chosen": [True] * count,
        "margin": [0.25] * count,
        "window": [count] * count,
    }


def test_pairs_that_came_window_by_window_are_read_one_by_one():
    with FrameSpool() as frames:
        for first in (0, 3):
            for pair in (0, 1):
                frames.add(pair, rows(first, 3))
        frames.close()
        for pair in (1, 0):
            (table,) = frames.read(pair)
            assert table.schema.equals(FRAME_ROWS)
            assert table["frame_index"].to_pylist() == list(range(6))
        assert list(frames.read(2)) == []


@pytest.mark.parametrize("windows", [20, 400])
def test_memory_does_not_grow_with_the_number_of_frames(monkeypatch, windows):
    monkeypatch.setattr(spool, "ROWS_AT_ONCE", 64)
    before = pa.total_allocated_bytes()
    highest = 0
    with FrameSpool() as frames:
        for window in range(windows):
            frames.add(0, rows(16 * window, 16, b"1" * 1000))
            highest = max(highest, pa.total_allocated_bytes())
        frames.close()
        read = 0
        for table in frames.read(0):
            read += table.num_rows
            highest = max(highest, pa.total_allocated_bytes())
            del table
    assert read == 16 * windows
    assert highest - before < 500_000  # 400 windows are 6.4 MB
