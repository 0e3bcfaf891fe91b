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
