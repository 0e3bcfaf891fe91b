"""Lines that several results share."""

from jobs.result import error_lines


def test_errors_that_are_not_listed_are_counted():
    assert error_lines(["a", "b\nc"], 10) == ["error   a", "error   b c", "error   ... and 8 more"]
    assert error_lines(["a"], 1) == ["error   a"]
    assert error_lines([], 3) == []
