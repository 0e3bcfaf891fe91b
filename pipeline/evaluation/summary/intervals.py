"""Intervals, p-values and power of means over videos. One inference gives all three, so that they never contradict.

The deviation of a video is what the mean loses without it (jackknife over clusters: MacKinnon, Nielsen and Webb, Fast
and reliable jackknife and bootstrap methods for cluster-robust inference, 2023). Two statistics with Student's t
distribution are made of it, and the less certain of the two counts:

- t on the scale of the logit, which keeps the bounds of a score (Korn and Graubard, Analysis of Health Surveys, 3.4);
- t after Hall's transformation, which takes out the skewness (On the removal of skewness by transformation, 1992).

Deviations are also taken with the sizes of the videos evened out, because a rare bad video that happens to have few
pairs looks harmless. A difference is also judged with half as much skewness again: a set of videos shows less of it
than there is, since it lacks most of the rare large changes. The degrees of freedom are those of the effective number
of videos (Kish).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit

METHOD = (
    "95 % intervals and p by video: jackknife, the less certain of Student's t on the logit scale (Korn and Graubard, "
    "1999) and after Hall's transformation against skewness (1992)"
)
OF_MEANS, OF_DIFFERENCES = (1.0,), (1.0, 1.5)  # multiples of the observed skewness; the least certain counts
METHOD_IN_SHORT = "by video: jackknife, logit t and Hall's t (1992) together"
LEAST_VIDEOS = 5  # with fewer, neither intervals nor tests hold what they say
LEVEL = 0.05
POWER = 0.8
RARE = 0.05  # share of a kind of video that a set should not lack
_ALIKE = 1e-9  # standard error below which all videos are alike but for rounding


@dataclass(frozen=True, slots=True)
class Inference:
    """M means, or differences of means, with their uncertainty; all values lie between `lowest` and 1."""

    value: np.ndarray  # float64 [M]
    error: np.ndarray  # standard error
    skewness: np.ndarray  # [K, M] to allow for: that of the deviations, divided by the root of their number
    freedom: np.ndarray  # degrees of freedom
    videos: np.ndarray  # int [M]
    lowest: float | np.ndarray = 0.0

    @classmethod
    def of(
        cls,
        value: np.ndarray,
        without: np.ndarray,
        shares: np.ndarray,
        videos: np.ndarray,
        lowest: float | np.ndarray = 0.0,
        multiples: tuple[float, ...] = OF_MEANS,
    ) -> "Inference":
        """Infer from means [M], the means without each video [V, M], and the weights of the videos [V, M].

        videos, int [M]: the number that counts, see `VideoSums.videos`. multiples: of the skewness, to allow for.
        """
        there = shares > 0
        count = np.maximum(there.sum(axis=0), 2)
        own = np.where(there, (count - 1) * (value - np.nan_to_num(without)), 0.0)
        own -= np.where(there, own.sum(axis=0) / count, 0.0)
        evened = np.divide(own, np.sqrt(shares * count), out=np.zeros_like(own), where=there)
        evened -= np.where(there, evened.sum(axis=0) / count, 0.0)
        squares = np.maximum((own**2).sum(axis=0), (evened**2).sum(axis=0))
        skewness = np.stack([_skewness(own), _skewness(evened)])
        return cls(
            value,
            np.sqrt(squares / (count * (count - 1))),
            np.multiply.outer(multiples, np.where(abs(skewness[1]) > abs(skewness[0]), skewness[1], skewness[0])),
            np.maximum(1 / np.maximum((shares**2).sum(axis=0), 1e-300) - 1, 0.1),
            videos,
            lowest,
        )

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both ends [M] of the 95 % interval, NaN with fewer than LEAST_VIDEOS videos."""
        t = stdtrit(self.freedom, 1 - LEVEL / 2)
        ends = []
        for side, bound in ((-1, self.lowest), (1, 1.0)):
            by_hall = side * (self.value - self.error * self._from_hall(-side * t))
            place, slope = self._logit()
            by_logit = self.lowest + (1 - self.lowest) * expit(place + side * t * slope * self.error)
            end = side * np.maximum(by_hall.max(axis=0), side * by_logit)
            end = np.where(self.error < _ALIKE, self._if_alike(bound), end)
            ends.append(np.where(self.videos < LEAST_VIDEOS, np.nan, np.clip(end, self.lowest, 1.0)))
        return ends[0], ends[1]

    def p(self) -> np.ndarray:
        """Return p [M] for a true value of 0: below 0.05 just where the interval excludes 0. 1 with too few videos."""
        error = np.maximum(self.error, _ALIKE)
        place, slope = self._logit()
        by_logit = (place - logit(-self.lowest / (1 - self.lowest))) / (slope * error)
        least = np.minimum(abs(by_logit), abs(self._to_hall(self.value / error)).min(axis=0))
        p = 2 * stdtr(self.freedom, -least)
        p = np.where(self.error < _ALIKE, np.minimum(1.0, 2 * (1 + abs(self.value)) ** -self.videos), p)
        return np.where(self.videos < LEAST_VIDEOS, 1.0, p)

    def smallest(self) -> np.ndarray:
        """Return the true value [M] that such a set would tell from 0 in 80 of 100 cases; NaN if none up to 1."""
        t = stdtrit(self.freedom, 1 - LEVEL / 2)
        bars = np.maximum(self._from_hall(t), -self._from_hall(-t)).max(axis=0)
        found = (np.maximum(bars, t) + stdtrit(self.freedom, POWER)) * self.error
        alike = 1 / (LEVEL / 2) ** (1 / np.maximum(self.videos, 1)) - 1
        found = np.where(self.error < _ALIKE, alike, found)
        return np.where((self.videos < LEAST_VIDEOS) | ~(found <= 1), np.nan, found)

    def _logit(self) -> tuple[np.ndarray, np.ndarray]:
        """The value on the scale of the logit, and the slope of that scale there."""
        place = np.clip((self.value - self.lowest) / (1 - self.lowest), 1e-12, 1 - 1e-12)
        return logit(place), 1 / (place * (1 - place) * (1 - self.lowest))

    def _to_hall(self, t: np.ndarray) -> np.ndarray:
        a = self.skewness
        return t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6

    def _from_hall(self, g: np.ndarray) -> np.ndarray:
        """The inverse of `_to_hall`."""
        a = np.where(abs(self.skewness) < 1e-6, 1e-6, self.skewness)
        return 3 / a * (np.cbrt(1 + a * (g - a / 6)) - 1)

    def _if_alike(self, bound: float | np.ndarray) -> np.ndarray:
        """The end of the interval where all videos are alike, and others may be at `bound`.

        If a share q of all videos has this value, V of them have it with probability q^V.
        """
        q = (LEVEL / 2) ** (1 / np.maximum(self.videos, 1))
        return bound + (self.value - bound) * q


def caution(videos: int) -> str | None:
    """Return what a test of so many videos cannot know; None if there are many, or too few for a test."""
    lacking = (1 - RARE) ** videos
    if videos < LEAST_VIDEOS or lacking <= LEVEL:
        return None
    return (
        f"p and interval are too sure if a few videos change by far more than the others: a set of {videos} videos has "
        f"none of a kind that is one in {1 / RARE:.0f} with probability {lacking:.2f}"
    )


def _skewness(deviations: np.ndarray) -> np.ndarray:
    """Sum of cubes by the power 3/2 of the sum of squares of deviations [V, M]; 0 if they are zero."""
    squares = (deviations**2).sum(axis=0)
    return np.divide((deviations**3).sum(axis=0), squares**1.5, out=np.zeros_like(squares), where=squares > 1e-300)
