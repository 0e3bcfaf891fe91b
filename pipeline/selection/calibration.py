"""What the measures are worth, on pairs whose truth is known: which goes with quality, and where to cut.

Videos are split in two halves by a hash of their id: the measure and the cut are chosen on the one, and what the cut is
worth is told from the other, which had no part in it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pipeline.evaluation.summary.statistics import clustered_means, resample
from pipeline.selection.quality_signals import MEASURES
from pipeline.selection.rules import Rule
from schemas.errors import InputError

LEAST_VIDEOS = 8  # that have truth, and of them that have a measure; below, halves say nothing
LEAST_IN_HALF = 2  # videos; of one there is no interval
LEAST_KEPT = 5  # pairs, for a cut to count
CURVE_POINTS = 50

Table = Any  # a pandas.DataFrame; what indexing one gives has no type that a checker can follow


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation of a measure with quality, with a 95 % interval by bootstrap over videos."""

    measure: str
    rho: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the cut does on videos that had no part in choosing it; `precision` is the share of good ones in the kept.

    As for every rule, pairs that lack the measure are kept.
    """

    pairs: int
    kept: int
    precision: float | None
    low: float | None
    high: float | None
    quality_kept: float | None
    quality_all: float
    good_all: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """`curve` has (share kept, precision, mean quality, bound) over all labelled pairs, strictest first.

    Pairs that lack the measure are kept by every cut. `rule` is None if no cut reaches the precision wanted on the half
    that it is chosen on.
    """

    good: float
    wanted: float
    pairs: int
    videos: int
    correlations: tuple[Correlation, ...]
    measure: str
    curve: tuple[tuple[float, float, float, float], ...]
    rule: Rule | None
    held_out: HeldOut | None


def calibrate(pairs: Table, good: float, wanted: float, measure: str | None = None) -> Calibration:
    """Calibrate on `pairs`: video_id, MEASURES, and `quality` (J&F). A pair is good from a quality of `good` on.

    Without `measure`, the one with the strongest correlation on the first half is cut. Raises InputError if there are
    too few videos, in all, in a half or with the measure, and if all values are the same.
    """
    videos = int(pairs["video_id"].nunique())
    if videos < LEAST_VIDEOS:
        raise InputError(f"{videos} videos have both masks and truth; calibrating takes {LEAST_VIDEOS} or more")
    if pairs["quality"].nunique() < 2:
        text = f"all labelled pairs have the same J&F, {pairs['quality'].iloc[0]:g}"
        raise InputError(f"{text}; there is nothing to calibrate, so leave --calibrate out")
    first = _first_half(pairs)
    counted = [name for name in MEASURES if _videos_with(pairs, name) >= LEAST_VIDEOS]
    correlations = [found for name in counted if (found := correlation(pairs, name))]
    chosen = measure or _strongest(pairs[first], counted)
    if chosen not in counted:
        text = f"{_videos_with(pairs, chosen)} labelled videos have {chosen}"
        raise InputError(f"{text}; calibrating takes {LEAST_VIDEOS} or more, so choose another measure")
    known = correlation(pairs[first], chosen)
    if known is None:
        raise InputError(f"{chosen} has no two different values on the labelled pairs; calibrate another measure")
    rising = known.rho >= 0
    rule = _cut(pairs[first], chosen, rising, good, wanted)
    return Calibration(
        good,
        wanted,
        len(pairs),
        videos,
        tuple(sorted(correlations, key=lambda found: -abs(found.rho))),
        chosen,
        _curve(pairs, chosen, rising, good),
        rule,
        None if rule is None else _held_out(pairs[~first], rule, good),
    )


def correlation(pairs: Table, measure: str) -> Correlation | None:
    """Of one measure with quality, over the pairs that have it.

    None if they are of less than two videos, or either has no two different values.
    """
    known = pairs[pairs[measure].notna()]
    if min(known[name].nunique() for name in ("video_id", measure, "quality")) < 2:
        return None
    x, y = (rankdata(known[name]) - (len(known) + 1) / 2 for name in (measure, "quality"))
    _, cluster = np.unique(known["video_id"], return_inverse=True)
    sums = np.stack([np.bincount(cluster, values) for values in (np.ones(len(x)), x, y, x * x, y * y, x * y)], axis=1)
    low, high = np.nanpercentile(_pearson(resample(sums)), (2.5, 97.5))
    return Correlation(measure, float(_pearson(sums.sum(0)[None])[0]), float(low), float(high), len(known))


def _pearson(sums: np.ndarray) -> np.ndarray:
    """From totals [B, 6] of 1, x, y, xx, yy, xy; NaN where a variance is 0."""
    n, x, y, xx, yy, xy = sums.T
    spread = (n * xx - x * x) * (n * yy - y * y)
    return np.divide(n * xy - x * y, np.sqrt(np.maximum(spread, 0)), out=np.full(len(n), np.nan), where=spread > 0)


def _first_half(pairs: Table) -> np.ndarray:
    """Which pairs to choose on, bool [N]; the others are to judge on. Raises InputError if either are of few videos."""
    first = np.array([hashlib.sha256(video.encode()).digest()[0] & 1 == 0 for video in pairs["video_id"]])
    chosen_on, judged_on = (int(pairs["video_id"][half].nunique()) for half in (first, ~first))
    if min(chosen_on, judged_on) < LEAST_IN_HALF:
        text = (
            f"a hash of their ids gives {chosen_on} labelled videos to choose a cut on and {judged_on} to judge it on"
        )
        raise InputError(f"{text}; each half takes {LEAST_IN_HALF} or more, so label more videos")
    return first


def _videos_with(pairs: Table, measure: str) -> int:
    return int(pairs["video_id"][pairs[measure].notna()].nunique())


def _strongest(pairs: Table, measures: Sequence[str]) -> str:
    found = [one for name in measures if name != "frames" and (one := correlation(pairs, name))]
    if not found:
        raise InputError("no measure has two different values on the labelled pairs; there is nothing to calibrate")
    return max(found, key=lambda one: abs(one.rho)).measure


def _ranked(pairs: Table, measure: str, rising: bool) -> Table:
    """The best by the measure first, before them those that lack it, which every cut keeps."""
    return pairs.sort_values(measure, ascending=not rising, kind="stable", na_position="first")


def _bounds(values: np.ndarray) -> np.ndarray:
    """Places behind which the value changes, so that equal ones are kept together; none is behind a NaN."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True) & ~np.isnan(values))


def _cut(pairs: Table, measure: str, rising: bool, good: float, wanted: float) -> Rule | None:
    """The loosest bound whose kept pairs reach the precision."""
    ranked = _ranked(pairs, measure, rising)
    values = ranked[measure].to_numpy()
    precision = (ranked["quality"].to_numpy() >= good).cumsum() / np.arange(1, len(ranked) + 1)
    reached = [place for place in _bounds(values) if place + 1 >= LEAST_KEPT and precision[place] >= wanted]
    if not reached:
        return None
    kept, dropped = values[: reached[-1] + 1], values[reached[-1] + 1 :]
    return Rule(measure, ">=" if rising else "<=", _short(float(kept[-1]), kept, dropped, rising))


def _short(bound: float, kept: np.ndarray, dropped: np.ndarray, rising: bool) -> float:
    """The number of the fewest digits, four or more, that parts kept and dropped as `bound` does: rules are read."""
    holds = np.greater_equal if rising else np.less_equal
    kept = kept[~np.isnan(kept)]
    for digits in range(4, 17):
        number = float(f"{bound:.{digits}g}")
        if holds(kept, number).all() and not holds(dropped, number).any():
            return number
    return bound


def _curve(pairs: Table, measure: str, rising: bool, good: float) -> tuple[tuple[float, float, float, float], ...]:
    ranked = _ranked(pairs, measure, rising)
    values, quality = ranked[measure].to_numpy(), ranked["quality"].to_numpy()
    counts = np.arange(1, len(ranked) + 1)
    precision, mean = (quality >= good).cumsum() / counts, quality.cumsum() / counts
    places = _bounds(values)
    chosen = places[np.unique(np.linspace(0, len(places) - 1, CURVE_POINTS).round().astype(int))]
    return tuple(
        (float(counts[at] / len(pairs)), float(precision[at]), float(mean[at]), float(values[at])) for at in chosen
    )


def _held_out(pairs: Table, rule: Rule, good: float) -> HeldOut:
    keep = np.array([rule.reason({rule.measure: _known(value)}) is None for value in pairs[rule.measure]], bool)
    kept = pairs[keep]
    quality = pairs["quality"].to_numpy()
    precision = low = high = None
    if len(kept):
        is_good = (kept["quality"].to_numpy() >= good).astype(float)[:, None]
        means = clustered_means(is_good, np.ones_like(is_good), kept["video_id"].to_numpy(str))
        precision, low, high = (_known(float(value[0])) for value in (means.value, means.low, means.high))
    return HeldOut(
        len(pairs),
        len(kept),
        precision,
        low,
        high,
        float(kept["quality"].mean()) if len(kept) else None,
        float(quality.mean()),
        float((quality >= good).mean()),
    )


def _known(value: float) -> float | None:
    return None if value != value else value
