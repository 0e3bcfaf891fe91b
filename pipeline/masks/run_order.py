"""Find masks whose runs were counted along rows, although COCO counts them down the columns.

Such a string has as many pixels as the frame and decodes without an error, to stripes. Two things give it away. Pixels
of an object continue in the next column: `height` places further on in the string. If they do not, but continue
`width` places further on, in the next row of a mask that is read row by row, then the string was written so. And a box
beside the mask fits one reading only, also in square frames, where the strings alone say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas import rle
from schemas.errors import ImplausibleError

LEAST_SIDE = 16  # pixels; the neighbours in smaller frames say little
LEAST_AREA = 64  # pixels of an object, and of its background
LEAST_RUN = 4  # mean length of the runs: shorter ones are lines or noise, which continue nowhere
RANDOM = 0.5  # share of the changes among unrelated pixels: above it, the object does not continue
COHERENT = 0.25  # the same: below it, the object continues
RATIO = 4  # least ratio between the changes of both readings
BOX_TOLERANCE = 2  # pixels
LEAST_SHARE = 0.9  # of the masks that fit one reading only

ADVICE = (
    "encode each mask with pycocotools from a Fortran-ordered array, np.asfortranarray(mask), or check that height and "
    "width are not exchanged"
)


@dataclass(slots=True)
class RunOrder:
    """How many masks are plausible in one reading only, and the first one that was written along rows."""

    columns: int = 0
    rows: int = 0
    example: str = ""

    def add(self, counts: bytes, height: int, width: int, place: str, box: object = None) -> None:
        """Count one mask, whose string must be valid.

        place: for messages. box: x, y, w, h in pixels; what is anything else is ignored.
        """
        runs = rle.run_lengths(counts, height, width)
        sides = [side for side in box if isinstance(side, int | float)] if isinstance(box, list) else []
        along_rows = _fits_rows(runs, height, width, sides if len(sides) == 4 else None)
        if along_rows is None:
            return
        self.rows += along_rows
        self.columns += not along_rows
        if along_rows and not self.example:
            down, along = _boxes(runs, height, width)
            beside = f", the box beside it is {sides}" if len(sides) == 4 else ""
            self.example = f"{place}: box {list(down)} as it is, {list(along)} if read along rows{beside}"

    def merge(self, other: "RunOrder") -> None:
        """Add the counts of another part."""
        self.rows, self.columns = self.rows + other.rows, self.columns + other.columns
        self.example = self.example or other.example

    def problem(self) -> str | None:
        """Return what is wrong, with one example; None if the masks are well or say nothing."""
        if not self.rows or self.rows < LEAST_SHARE * (self.rows + self.columns):
            return None
        found = f"{self.rows} of {self.rows + self.columns} masks"
        return f"{found} look as if their runs were counted along rows, not down columns; {self.example}; {ADVICE}"

    def require(self, source: str, *, force: bool = False) -> list[str]:
        """Return the problem as a note if `force`. Raises ImplausibleError that names `source` otherwise."""
        problem = self.problem()
        if problem and not force:
            raise ImplausibleError(f"{source}: {problem}")
        return [f"{source}: {problem}"] if problem else []


def _fits_rows(runs: np.ndarray, height: int, width: int, box: Sequence[float] | None) -> bool | None:
    """Return whether a mask is plausible along rows only (True) or down columns only (False); None: both or neither."""
    if box is not None and runs[1::2].any():
        down_fits, along_fits = _fits_box(runs, height, width, box)
        if down_fits != along_fits:
            return along_fits
    area = int(runs[1::2].sum())
    total = height * width
    if min(height, width) < LEAST_SIDE or min(area, total - area) < LEAST_AREA or area < LEAST_RUN * (len(runs) // 2):
        return None
    if not (np.cumsum(runs) % height).any():  # whole columns: stripes, or a mask along rows that has no other edges
        return None
    down, along = _changes(runs, height), _changes(runs, width)
    if down >= RANDOM and along <= COHERENT and down >= max(RATIO, 2 * height / width) * along:
        return True  # a pole in a narrow frame changes height / width times as often
    return False if along >= RANDOM and down <= COHERENT else None


def _changes(runs: np.ndarray, distance: int) -> float:
    """Return how often two pixels `distance` places apart differ, 1 being what is expected of unrelated pixels."""
    bounds = np.concatenate(([0], np.cumsum(runs)))
    ones = np.concatenate(([0], np.cumsum(np.where(np.arange(len(runs)) % 2, runs, 0))))
    total, area = int(bounds[-1]), int(ones[-1])
    stops = bounds[2::2]  # of the runs of foreground
    starts = bounds[1::2][: len(stops)]
    both = (np.interp(stops + distance, bounds, ones) - np.interp(starts + distance, bounds, ones)).sum()
    of_first, before_second = np.interp([total - distance, distance], bounds, ones)  # foreground, in all pairs
    differing = of_first + (area - before_second) - 2 * both
    share = area / total
    return float(differing / (2 * share * (1 - share) * (total - distance)))


def _fits_box(runs: np.ndarray, height: int, width: int, box: Sequence[float]) -> tuple[bool, bool]:
    """Return whether the box is that of the mask read down the columns, and along the rows."""
    down, along = (
        all(abs(a - b) <= BOX_TOLERANCE for a, b in zip(one, box, strict=True)) for one in _boxes(runs, height, width)
    )
    return down, along


def _boxes(runs: np.ndarray, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return x, y, w, h of a mask that is not empty: read down the columns, and along the rows."""
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    boxes = []
    for mask in (pixels.reshape(width, height).T, pixels.reshape(height, width)):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        x, y = int(columns[0]), int(rows[0])
        boxes.append((x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1))
    return boxes
