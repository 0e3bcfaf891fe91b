"""Axes, and positions in the drawing."""

import pytest

from pipeline.report.plots import Line, Plot, PlotAxis, Point, Table, Whisker


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (PlotAxis("", 0, 1), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (PlotAxis("", 0, 100), ["0", "20", "40", "60", "80", "100"]),
        (PlotAxis("", 0.004, 0.6, log=True), ["0.01", "0.1"]),
        (PlotAxis("", -0.3, 0.3), ["-0.2", "0", "0.2"]),
    ],
)
def test_ticks_are_round(axis, texts):
    assert [text for _, text in axis.ticks()] == texts


def test_an_axis_is_wide_enough_and_logarithmic_where_it_must_be():
    assert not PlotAxis.of("", [1, 20]).log
    assert PlotAxis.of("", [0.001, 0.5]).log
    for values in ([3, 3, 3], [0, 0, 0], [-5, 7], [0.001, 0.5]):
        axis = PlotAxis.of("", values)
        assert all(0 <= axis.place(value) <= 1 for value in values)
        assert axis.low < axis.high
        assert axis.ticks()
    assert PlotAxis("", 0, 1).place(7) == 1


def test_lines_and_bands_lie_within_the_frame():
    points = [Point(0, 0.5, 0.4, 0.6), Point(0.5, 1), Point(1, 0.2, 0.1, 0.3)]
    plot = Plot("k", "t", "a", PlotAxis("x", 0, 1), PlotAxis("y", 0, 1), Table((), ()), lines=[Line("l", points)])
    left, top, right, bottom = plot.frame
    assert plot.path(plot.lines[0]).split()[0] == f"{left},{(top + bottom) / 2}"
    corners = [tuple(map(float, corner.split(","))) for corner in plot.band(plot.lines[0]).split()]
    assert len(corners) == 4  # the point without an interval has no part in it
    assert all(left <= x <= right and top <= y <= bottom for x, y in corners)
    assert plot.band(Line("l", points[:1])) == ""


def test_whiskers_stay_in_their_cell():
    whisker = Whisker(0.5, 0.4, 2.0, PlotAxis("", 0, 1))
    assert whisker.at(0.5) == whisker.WIDTH / 2
    assert 0 < whisker.at(-3) < whisker.at(2.0) < whisker.WIDTH
