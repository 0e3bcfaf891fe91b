"""Times of the frames of a film: each frame is shown as long as in its video, whatever its container calls the rate.

Containers of videos of variable rate state a nominal rate that few frames have, and damaged files have times that
jump. So the times of the frames decide, and where they cannot be right, the usual distance of the video does.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from pipeline.video import Frame

DEFAULT = Fraction(1, 10)  # seconds a frame, of a folder of images and where nothing tells it
SHORTEST, LONGEST = Fraction(1, 1000), Fraction(600)  # seconds a frame; what files say beyond these is damage


def timed(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Fraction]]:
    """Yield each of some frames of a video, in order, with the seconds until the next one; one frame is held.

    After the last frame these are its own, or if frames between the last two were left out, the distance of these.
    """
    clock = _Clock()
    last: Frame | None = None
    steps, seconds = 1, DEFAULT
    for frame in frames:
        if last is not None:
            steps, seconds = frame.index - last.index, clock.between(last, frame)
            yield last, seconds
        last = frame
    if last is not None:
        yield last, seconds if steps > 1 else clock.own(last) or clock.usual_of(last)


class _Clock:
    """Seconds between the frames of a video, from times that may be wrong or missing."""

    def __init__(self) -> None:
        self._usual: Fraction | None = None  # seconds between neighbours, the latest that can be right
        self._late = Fraction(0)  # by which frames of the film come too late, after others that came too fast

    def between(self, one: Frame, two: Frame) -> Fraction:
        steps = two.index - one.index
        wait = None if one.time is None or two.time is None else two.time - one.time
        if wait is None or not 0 <= wait <= LONGEST * steps or (wait < SHORTEST * steps and self._usual is None):
            return self.usual_of(one) * steps
        if wait >= SHORTEST * steps:
            self._usual = wait / steps
        shown = max(wait - self._late, SHORTEST * steps)
        self._late += shown - wait
        return shown

    def usual_of(self, frame: Frame) -> Fraction:
        return self._usual or self.own(frame) or DEFAULT

    def own(self, frame: Frame) -> Fraction | None:
        """Return how long its file says that a frame is shown, None if that cannot be right."""
        is_possible = frame.duration is not None and SHORTEST <= frame.duration <= LONGEST
        return frame.duration if is_possible else None
