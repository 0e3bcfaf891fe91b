import os
import sys
import threading
import time

import pytest

from pipeline.segment.channel import Closed, run_in_thread


def numbers(count: int, size: int = 0, made: list | None = None):
    def work(put):
        for i in range(count):
            if made is not None:
                made.append(i)
            put(i, size)

    return work


def test_items_keep_their_order():
    assert list(run_in_thread(numbers(100), 2, 0)) == list(range(100))
    assert list(run_in_thread(numbers(100, size=7), 50, 20)) == list(range(100))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one priority for all threads of a process")
def test_only_the_thread_of_a_stage_stands_back():
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def work(put):
        put(os.getpriority(os.PRIO_PROCESS, 0))

    assert list(run_in_thread(work, 1, 0, nice=3)) == [min(19, before + 3)]
    assert list(run_in_thread(work, 1, 0)) == [os.getpriority(os.PRIO_PROCESS, 0)] == [before]


def test_an_error_comes_after_the_items_before_it():
    def work(put):
        put(1)
        raise ValueError("broken")

    items = run_in_thread(work, 3, 0)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


@pytest.mark.parametrize(
    ("items", "most_bytes", "size", "made_ahead"),
    [
        (2, 0, 0, 2),  # that many are ready
        (9, 100, 30, 2),  # with the one in hand, 90 bytes
        (9, 100, 70, 0),
        (9, 100, 1000, 0),  # one in hand is too much already
    ],
)
def test_what_is_made_ahead_is_bounded(items, most_bytes, size, made_ahead):
    made = []
    reader = run_in_thread(numbers(50, size, made), items, most_bytes)
    next(reader)
    time.sleep(0.3)
    assert len(made) == 1 + made_ahead + 1  # in hand, ready, waiting to be
    reader.close()


def test_items_of_no_bytes_pass_a_large_one():
    def work(put):
        put("large", 1000)
        put("small")
        passed.set()

    passed = threading.Event()
    reader = run_in_thread(work, 5, 100)
    assert next(reader) == "large"
    assert passed.wait(60)
    reader.close()


def test_closing_ends_the_thread():
    ended = threading.Event()

    def work(put):
        try:
            numbers(1000)(put)
        except Closed:
            ended.set()
            raise

    reader = run_in_thread(work, 1, 0)
    next(reader)
    reader.close()
    assert ended.wait(60)
