import threading
import time

import pytest

from pipeline.prefetch import prefetch


def test_items_keep_their_order():
    assert list(prefetch(iter(range(100)), 2)) == list(range(100))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    ahead = prefetch(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_no_more_than_depth_is_made_ahead():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    ahead = prefetch(items(), 2)
    next(ahead)
    time.sleep(0.3)
    assert len(made) <= 1 + 2 + 1  # handed out, in the queue, waiting to enter it
    ahead.close()


def test_closing_ends_the_thread():
    ahead = prefetch(iter(range(1000)), 1)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
