"""Calibrate the selection on annotated pairs: which quality signal correlates with quality, and where to cut it.

Videos are split by a hash of their id. The signal and the order of cuts are chosen on a third of them. A cut is offered
if its precision can be shown on the others, the held-out videos.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.evaluation.summary.intervals import Inference
from pipeline.evaluation.summary.statistics import clustered_means
from pipeline.selection.precision_bound import CONFIDENCE, effective_pairs, likeness, lower_bound, times_as_many
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from pipeline.selection.rules import Rule
from schemas.errors import InputError

MIN_VIDEOS = 8  # with annotations, and of them with a signal
PARTS = 3  # one to choose on, the others are held out
MIN_VIDEOS_IN_PART = 2
MIN_KEPT = 5  # pairs that a cut keeps
CURVE_POINTS = 50

LabelledPairs = Any  # a pandas.DataFrame; type checkers cannot follow its indexing


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation of a signal with quality, with a 95 % interval (NaN with too few videos)."""

    measure: str
    rho: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The effect of the cut on the held-out videos; `precision` is the share of good pairs among the kept ones.

    As with every rule, pairs that lack the signal are kept.
    """

    pairs: int
    kept: int
    precision: float | None
    low: float | None  # 95 % interval
    high: float | None
    quality_kept: float | None
    quality_all: float
    good_all: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """`curve` has (share kept, precision, mean quality, bound) over all labelled pairs, strictest bound first.

    Every cut keeps pairs that lack the signal `measure`. `rule` is None if no cut can promise the precision wanted;
    `videos_needed` is then about how many labelled videos would, None if more labels do not seem to help.
    """

    good: float
    wanted: float
    pairs: int
    videos: int
    correlations: tuple[Correlation, ...]
    measure: str
    curve: tuple[tuple[float, float, float, float], ...]
    confidence: float
    rule: Rule | None
    held_out: HeldOut | None
    videos_needed: int | None


def calibrate(pairs: LabelledPairs, good: float, wanted: float, measure: str | None = None) -> Calibration:
    """Calibrate on `pairs`: video_id, QUALITY_SIGNALS, and `quality` (J&F). A pair is good if it is at least `good`.

    Without `measure`, the signal with the strongest correlation on the first part is cut. Raises InputError if there
    are too few videos, in all, in a part or with the signal, and if all values are equal.
    """
    videos = int(pairs["video_id"].nunique())
    if videos < MIN_VIDEOS:
        raise InputError(f"{videos} videos have both masks and annotations; --calibrate needs at least {MIN_VIDEOS}")
    if pairs["quality"].nunique() < 2:
        text = f"all labelled pairs have the same J&F, {pairs['quality'].iloc[0]:g}"
        raise InputError(f"{text}; nothing to calibrate, so leave --calibrate out")
    pairs = pairs.assign(is_good=pairs["quality"] >= good)
    is_first = np.array([hashlib.sha256(video.encode()).digest()[0] % PARTS == 0 for video in pairs["video_id"]])
    first, second = pairs[is_first], pairs[~is_first]
    parts = first["video_id"].nunique(), second["video_id"].nunique()
    if min(parts) < MIN_VIDEOS_IN_PART:
        text = f"the hash of their ids puts {parts[0]} labelled videos into one part and {parts[1]} into the other"
        raise InputError(f"{text}; each part needs at least {MIN_VIDEOS_IN_PART}, so annotate more videos")
    videos_with = {name: int(pairs["video_id"][pairs[name].notna()].nunique()) for name in QUALITY_SIGNALS}
    usable = [name for name in QUALITY_SIGNALS if videos_with[name] >= MIN_VIDEOS]
    if measure is not None and measure not in usable:
        text = f"{videos_with[measure]} labelled videos have {measure}"
        raise InputError(f"{text}; --calibrate needs at least {MIN_VIDEOS}, so choose another --measure")
    candidates = [measure] if measure else [name for name in usable if name != "frames"]
    on_first = [one for name in candidates if (one := correlation(first, name))]
    if not on_first:
        text = f"{measure} has" if measure else "all quality signals have"
        raise InputError(f"{text} the same value on all labelled pairs; nothing to calibrate")
    strongest = max(on_first, key=lambda one: abs(one.rho))
    rising = strongest.rho >= 0
    correlations = [one for name in usable if (one := correlation(pairs, name))]
    bound = _choose_cut(first, second, strongest.measure, rising, wanted)
    rule = None if bound is None else _rule(pairs, strongest.measure, rising, bound)
    return Calibration(
        good,
        wanted,
        len(pairs),
        videos,
        tuple(sorted(correlations, key=lambda one: -abs(one.rho))),
        strongest.measure,
        _curve(pairs, strongest.measure, rising, good),
        CONFIDENCE,
        rule,
        None if rule is None else _evaluate_cut(second, rule, good),
        None if rule is not None else _videos_needed(pairs, strongest.measure, rising, wanted),
    )


def correlation(pairs: LabelledPairs, measure: str) -> Correlation | None:
    """Correlate a signal with quality over the pairs that have it.

    None if they are of one video, or all have the same value of either.
    """
    known = pairs[pairs[measure].notna()]
    if min(known[name].nunique() for name in ("video_id", measure, "quality")) < 2:
        return None
    x, y = (rankdata(known[name]) - (len(known) + 1) / 2 for name in (measure, "quality"))
    _, cluster = np.unique(known["video_id"], return_inverse=True)
    sums = np.stack([np.bincount(cluster, values) for values in (np.ones(len(x)), x, y, x * x, y * y, x * y)], axis=1)
    total = sums.sum(axis=0)
    rho, without = _pearson(total[None]), _pearson(total - sums)[:, None]
    found = Inference.of(rho, without, sums[:, :1] / total[0], np.array([len(sums)]), lowest=-1.0)
    low, high = (float(end[0]) for end in found.interval())
    return Correlation(measure, float(rho[0]), low, high, len(known))


def shorten_bound(bound: float, kept: np.ndarray, dropped: np.ndarray, rising: bool) -> float:
    """Return the number with the fewest digits, at least four, that separates kept and dropped as `bound` does."""
    holds = np.greater_equal if rising else np.less_equal
    kept = kept[~np.isnan(kept)]
    for digits in range(4, 17):
        number = float(f"{bound:.{digits}g}")
        if holds(kept, number).all() and not holds(dropped, number).any():
            return number
    return bound


def _rule(pairs: LabelledPairs, measure: str, rising: bool, bound: float) -> Rule:
    """Return a rule that separates the labelled pairs as `bound` does, in few digits."""
    values = pairs[measure].dropna().to_numpy()
    keeps = values >= bound if rising else values <= bound
    return Rule(measure, ">=" if rising else "<=", shorten_bound(bound, values[keeps], values[~keeps], rising))


def _pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation from totals [B, 6] of 1, x, y, xx, yy, xy; NaN where a variance is 0."""
    n, x, y, xx, yy, xy = sums.T
    spread = (n * xx - x * x) * (n * yy - y * y)
    return np.divide(n * xy - x * y, np.sqrt(np.maximum(spread, 0)), out=np.full(len(n), np.nan), where=spread > 0)


def _ranked(pairs: LabelledPairs, measure: str, rising: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and quality, best value first, and the positions where a cut may be.

    Pairs that lack the signal, which every cut keeps, come before all others. A cut never separates equal values.
    """
    ranked = pairs.sort_values(measure, ascending=not rising, kind="stable", na_position="first")
    values = ranked[measure].to_numpy()
    cuts = np.flatnonzero(np.append(values[1:] != values[:-1], True) & ~np.isnan(values))
    return values, ranked["quality"].to_numpy(), cuts


def _bounds(pairs: LabelledPairs, measure: str, rising: bool) -> np.ndarray:
    """Return at most CURVE_POINTS bounds, strictest first, that keep at least MIN_KEPT pairs."""
    values, _, cuts = _ranked(pairs, measure, rising)
    cuts = cuts[cuts + 1 >= MIN_KEPT]
    return values[cuts[_spread(len(cuts))]]


def _spread(count: int) -> np.ndarray:
    """Return at most CURVE_POINTS of the numbers below `count`, evenly spread, with first and last."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, CURVE_POINTS)).round().astype(int))


def _choose_cut(first: LabelledPairs, second: LabelledPairs, measure: str, rising: bool, wanted: float) -> float | None:
    """Return the loosest bound whose precision is shown to be at least `wanted` on the second part.

    Bounds are tested from the most promising one of the first part to looser ones, until one fails. In such a fixed
    sequence each is tested at the full level (Angelopoulos and others, Learn then test, 2021).
    """
    bounds = _bounds(first, measure, rising)
    if not len(bounds):
        return None
    low_first, low_second = (lower_bound(*_cut_figures(part, measure, rising, bounds)) for part in (first, second))
    chosen = None
    for n in range(int(np.argmax(low_first)), len(bounds)):
        if low_second[n] < wanted:
            break
        chosen = float(bounds[n])
    return chosen


def _cut_figures(pairs: LabelledPairs, measure: str, rising: bool, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision of each of C bounds, and the effective number of pairs that it keeps."""
    values, is_good = pairs[measure].to_numpy()[:, None], pairs["is_good"].to_numpy()
    _, video = np.unique(pairs["video_id"], return_inverse=True)
    keeps = np.isnan(values) | (values >= bounds if rising else values <= bounds)
    by_video: Any = pd.DataFrame(np.hstack([keeps, keeps & is_good[:, None]]).astype(float)).groupby(video)
    kept, good = np.hsplit(by_video.sum().to_numpy(), 2)  # [V, C]
    effective = effective_pairs(kept, likeness(is_good, video))
    return good.sum(axis=0) / np.maximum(kept.sum(axis=0), 1), effective


def _videos_needed(pairs: LabelledPairs, measure: str, rising: bool, wanted: float) -> int | None:
    """Return about how many labelled videos would let a cut promise the precision; None if no number seems to."""
    share, effective = _cut_figures(pairs, measure, rising, _bounds(pairs, measure, rising))
    if not len(share):
        return None
    factor = times_as_many(share, effective * (1 - 1 / PARTS), wanted)
    return None if factor is None else math.ceil(factor * pairs["video_id"].nunique())


def _curve(
    pairs: LabelledPairs, measure: str, rising: bool, good: float
) -> tuple[tuple[float, float, float, float], ...]:
    values, quality, cuts = _ranked(pairs, measure, rising)
    counts = np.arange(1, len(quality) + 1)
    precision, mean = (quality >= good).cumsum() / counts, quality.cumsum() / counts
    chosen = cuts[_spread(len(cuts))]
    return tuple(
        (float(counts[at] / len(pairs)), float(precision[at]), float(mean[at]), float(values[at])) for at in chosen
    )


def _evaluate_cut(pairs: LabelledPairs, rule: Rule, good: float) -> HeldOut:
    values = [None if math.isnan(value) else value for value in pairs[rule.measure]]
    kept = pairs[np.array([rule.reason({rule.measure: value}) is None for value in values], bool)]
    quality = pairs["quality"].to_numpy()
    precision = low = high = None
    if len(kept):
        is_good = (kept["quality"].to_numpy() >= good).astype(float)[:, None]
        means = clustered_means(is_good, np.ones_like(is_good), kept["video_id"].to_numpy(str))
        found = (float(value[0]) for value in (means.value, means.low, means.high))
        precision, low, high = (None if math.isnan(value) else value for value in found)
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
