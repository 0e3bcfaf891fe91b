"""Calibration finds the planted signal, and the cut holds on other videos."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.selection.calibration import MIN_VIDEOS, calibrate, correlation, shorten_bound
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from schemas.errors import InputError


def labelled(videos: int = 300, seed: int = 0) -> pd.DataFrame:
    """Quality rises with mean_score, falls with flicker, and does not depend on area."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, videos * 2)
    table = pd.DataFrame(dict.fromkeys(QUALITY_SIGNALS, np.nan), index=range(len(quality)))
    return table.assign(
        video_id=[f"v{number // 2:04}" for number in range(len(quality))],
        quality=quality,
        mean_score=quality + rng.normal(0, 0.1, len(quality)),
        flicker=np.round(1 - quality + rng.normal(0, 0.4, len(quality)), 1),
        area=rng.uniform(0, 1, len(quality)),
    )


def test_correlations_are_spearmans_and_intervals_hold_them():
    pairs = labelled()
    for name in ("mean_score", "flicker", "area"):
        found = correlation(pairs, name)
        assert found
        assert found.rho == pytest.approx(spearmanr(pairs[name], pairs["quality"])[0], abs=1e-12)
        assert found.low < found.rho < found.high
    assert found.low < 0 < found.high  # of area
    assert correlation(pairs, "border") is None


def test_the_cut_keeps_its_precision_on_held_out_videos():
    found = calibrate(labelled(), good=0.6, wanted=0.9)
    assert [one.measure for one in found.correlations] == ["mean_score", "flicker", "area"]
    assert (found.measure, found.pairs, found.videos) == ("mean_score", 600, 300)
    assert found.rule
    assert str(found.rule).startswith("mean_score >= 0.")
    held = found.held_out
    assert held
    assert held.low <= held.precision <= held.high  # pyright: ignore[reportOptionalOperand]
    assert held.precision > 0.82 > 0.5 > held.good_all  # pyright: ignore[reportOptionalOperand]
    assert held.quality_kept > held.quality_all + 0.2  # pyright: ignore[reportOptionalOperand]
    assert 0.2 < held.kept / held.pairs < 0.6
    shares, precisions, _, bounds = map(list, zip(*found.curve, strict=True))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert bounds == sorted(bounds, reverse=True)
    assert precisions[0] > 0.9 > precisions[-1]


def test_a_falling_signal_is_cut_from_above():
    found = calibrate(labelled(), good=0.6, wanted=0.6, measure="flicker")
    assert str(found.rule).startswith("flicker <= ")


def test_pairs_that_lack_the_signal_count_as_kept():
    """The rule keeps them, so that figures of the cut include them."""
    pairs = labelled()
    lack = np.arange(len(pairs)) % 10 == 0
    pairs.loc[lack, "mean_score"] = np.nan
    found = calibrate(pairs, good=0.6, wanted=0.75)
    assert found.rule
    assert found.held_out
    kept = pairs[lack | (pairs["mean_score"] >= found.rule.bound)]
    held = kept[[hashlib.sha256(video.encode()).digest()[0] % 3 != 0 for video in kept["video_id"]]]
    assert found.held_out.kept == len(held)
    assert found.held_out.precision == pytest.approx((held["quality"] >= 0.6).mean())
    assert found.held_out.quality_kept == pytest.approx(held["quality"].mean())
    assert found.curve[0][0] > lack.mean()
    assert found.curve[-1][0] == 1
    assert all(bound == bound for *_, bound in found.curve)


def test_a_signal_that_few_videos_have_does_not_count():
    pairs = labelled()
    few = pairs["video_id"] < "v0007"
    pairs.loc[few, "margin"] = pairs["quality"]
    found = calibrate(pairs, good=0.6, wanted=0.9)
    assert found.measure == "mean_score"
    assert "margin" not in [one.measure for one in found.correlations]
    with pytest.raises(InputError, match="7 labelled videos have margin; --calibrate needs at least 8"):
        calibrate(pairs, good=0.6, wanted=0.9, measure="margin")
    assert correlation(pairs[pairs["video_id"] == "v0000"], "margin") is None


def test_both_parts_need_videos():
    pairs = labelled()
    pairs = pairs[[hashlib.sha256(video.encode()).digest()[0] % 3 == 0 for video in pairs["video_id"]]]
    count = pairs["video_id"].nunique()
    with pytest.raises(InputError, match=f"puts {count} labelled videos into one part and 0 into the other"):
        calibrate(pairs, good=0.6, wanted=0.9)


def test_a_cut_that_labels_cannot_promise_names_how_many_could():
    found = calibrate(labelled(40), good=0.6, wanted=0.8)
    assert (found.rule, found.held_out) == (None, None)
    assert found.videos_needed
    assert 40 < found.videos_needed < 1000
    assert calibrate(labelled(2 * found.videos_needed), good=0.6, wanted=0.8).rule
    assert calibrate(labelled(40), good=0.6, wanted=1.0).videos_needed is None


def test_impossible_calibrations_are_refused():
    assert calibrate(labelled(), good=0.999, wanted=1.0, measure="area").rule is None
    with pytest.raises(
        InputError, match=f"7 videos have both masks and annotations; --calibrate needs at least {MIN_VIDEOS}"
    ):
        calibrate(labelled(7), good=0.6, wanted=0.9)
    with pytest.raises(InputError, match="border has the same value on all labelled pairs"):
        calibrate(labelled().assign(border=0.5), good=0.6, wanted=0.9, measure="border")
    with pytest.raises(InputError, match="the same J&F, 1; nothing to calibrate"):
        calibrate(labelled().assign(quality=1.0), good=0.6, wanted=0.9)


def test_a_cut_has_no_more_digits_than_it_needs():
    values = np.array([1.0, 1.5, 1.9166666666666667, 2.0])
    assert shorten_bound(values[2], np.append(values[:3], np.nan), values[3:], rising=False) == 1.917
    close = np.array([1.916666666, 1.916666667])
    assert shorten_bound(close[0], close[:1], close[1:], rising=False) == close[0]
    assert shorten_bound(0.96610565, np.array([0.99, 0.96610565]), np.array([0.96609]), rising=True) == 0.9661
