import threading
import time

import pytest

from pipeline.io.parallel import bounded_map


def test_order_is_kept():
    assert list(bounded_map(lambda n: (time.sleep(0.001 * (n % 3)), n)[1], range(50), 4)) == list(range(50))


def test_runs_ahead_only_so_far():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = bounded_map(abs, items(), 3)
    next(results)
    assert len(taken) == 6
    results.close()


def test_first_error_is_raised_in_its_turn():
    started = threading.Event()

    def fail(n):
        started.set()
        if n == 2:
            raise KeyError(n)
        return n

    results = bounded_map(fail, range(1000), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)


@pytest.mark.timeout(60)
def test_a_reader_that_stops_does_not_wait_for_what_has_begun():
    """The garbage collector may be what stops it, in a thread that is starting: nothing ends then before it does."""
    begun, may_end = threading.Event(), threading.Event()
    results = bounded_map(lambda n: n == 0 or begun.set() or may_end.wait(), range(3), 1)
    assert next(results)
    assert begun.wait(30)
    results.close()
    assert not may_end.is_set()
    may_end.set()
