import threading
from contextlib import contextmanager, nullcontext

import pytest

from pipeline.segment.channel import Closed
from pipeline.segment.in_flight import InFlightAttempts


class Markers:
    """Those that are there."""

    def __init__(self):
        self.there = []

    @contextmanager
    def attempt(self, name):
        self.there.append(name)
        try:
            yield nullcontext()
        finally:
            self.there.remove(name)


def begin_later(underway: InFlightAttempts, attempt, *, apart: bool) -> threading.Event:
    """Set when it has begun."""
    begun = threading.Event()

    def work():
        underway.begin(attempt, apart=apart)
        begun.set()

    threading.Thread(target=work, daemon=True).start()
    return begun


def test_attempts_that_nothing_speaks_against_overlap():
    markers = Markers()
    a, b = (markers.attempt(name) for name in "ab")
    with InFlightAttempts() as underway:
        underway.begin(a, apart=False)
        underway.begin(b, apart=False)
        assert markers.there == ["a", "b"]
        underway.end(a)
        assert markers.there == ["b"]
    assert markers.there == []


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
def test_a_suspect_has_nothing_beside_it(first, second):
    markers = Markers()
    a, b = (markers.attempt(name) for name in "ab")
    with InFlightAttempts() as underway:
        underway.begin(a, apart=first)
        begun = begin_later(underway, b, apart=second)
        assert not begun.wait(0.2)
        assert markers.there == ["a"]
        underway.end(a)
        assert begun.wait(60)
        assert markers.there == ["b"]


def test_who_waits_is_told_that_it_is_over():
    markers = Markers()
    raised = threading.Event()

    def work():
        with pytest.raises(Closed):
            underway.begin(markers.attempt("b"), apart=True)
        raised.set()

    with InFlightAttempts() as underway:
        underway.begin(markers.attempt("a"), apart=False)
        threading.Thread(target=work, daemon=True).start()
    assert raised.wait(60)
    assert markers.there == []
