"""Plots as plain data, in the coordinates of the drawing: axes, marks, lines, bands. `plots.html.j2` writes the SVG.

Every plot has a table with the same content as text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 480.0, 300.0  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 48.0, 14.0, 12.0, 44.0  # margins
TICKS = 5


@dataclass(frozen=True, slots=True)
class PlotAxis:
    """Values from `low` to `high`, on a linear or a logarithmic scale."""

    label: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, label: str, values: Sequence[float]) -> "PlotAxis":
        """Return an axis wide enough for `values`; logarithmic if they span more than a factor of 30."""
        low, high = min(values), max(values)
        if low > 0 and high > 30 * low:
            return cls(label, low / 1.1, high * 1.1, log=True)
        room = (high - low) * 0.04 or max(abs(high), 1.0) * 0.5
        return cls(label, 0.0 if 0 <= low < (high - low) / 2 else low - room, high + room)

    def place(self, value: float) -> float:
        """Return the position of a value: 0 at `low`, 1 at `high`; values outside are moved to the nearer end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def value_at(self, place: float) -> float:
        """Return the value at a position from 0 to 1."""
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return self.low + place * (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values on the axis, with their texts."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(powers) <= 3 else (1,)
            values = [step * 10.0**power for power in powers for step in steps]
        else:
            least = (self.high - self.low) / TICKS
            power = 10.0 ** math.floor(math.log10(least))
            step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
            values = [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(value, f"{round(value, 9):g}") for value in values if self.low <= value <= self.high]


UNIT = PlotAxis("", 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot. `text` describes it, `href` leads to its details."""

    x: float
    y: float
    text: str
    radius: float = 3.5
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from the x-axis up, between two values of x."""

    left: float
    right: float
    y: float
    text: str


class Point(NamedTuple):
    """A point of a line; `low` and `high` are the ends of an interval of y, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, with a band for their intervals."""

    name: str
    points: Sequence[Point]
    style: str = "a"  # a class of style.css: a, b or even


@dataclass(frozen=True, slots=True)
class Table:
    """The content of a plot as text. `note` names what was left out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot; `key` is its id in the page."""

    key: str
    title: str
    about: str
    x: PlotAxis
    y: PlotAxis
    table: Table
    marks: Sequence[Mark] = ()
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()
    legend: bool = False
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the area inside the axes."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM

    def across(self, x: float) -> float:
        left, _, right, _ = self.frame
        return round(left + self.x.place(x) * (right - left), 1)

    def down(self, y: float) -> float:
        _, top, _, bottom = self.frame
        return round(bottom - self.y.place(y) * (bottom - top), 1)

    def path(self, line: Line) -> str:
        """`points` of an SVG polyline."""
        return " ".join(f"{self.across(point.x)},{self.down(point.y)}" for point in line.points)

    def band(self, line: Line) -> str:
        """`points` of an SVG polygon around the intervals; empty if there are fewer than two."""
        known = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
        if len(known) < 2:
            return ""
        edge = [(x, high) for x, _, high in known] + [(x, low) for x, low, _ in reversed(known)]
        return " ".join(f"{self.across(x)},{self.down(y)}" for x, y in edge)


@dataclass(frozen=True, slots=True)
class Whisker:
    """A value with its interval on an axis, small enough for a table cell."""

    value: float
    low: float | None
    high: float | None
    axis: PlotAxis
    reference: float | None = None  # a value to compare with, drawn as a line

    WIDTH = 160.0

    def at(self, value: float) -> float:
        return round(4 + self.axis.place(value) * (self.WIDTH - 8), 1)
