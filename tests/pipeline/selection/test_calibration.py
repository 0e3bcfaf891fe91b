"""Calibration on pairs whose answer is known: the right measure is found, and the cut holds on other videos."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.selection.calibration import LEAST_VIDEOS, calibrate, correlation
from pipeline.selection.measures import MEASURES
from schemas.errors import InputError


def labelled(videos: int = 300, seed: int = 0) -> pd.DataFrame:
    """Quality goes with mean_score, against flicker, and not with area."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0, 1, videos * 2)
    table = pd.DataFrame(dict.fromkeys(MEASURES, np.nan), index=range(len(quality)))
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


def test_a_falling_measure_is_cut_from_above():
    found = calibrate(labelled(), good=0.6, wanted=0.6, measure="flicker")
    assert str(found.rule).startswith("flicker <= ")


def test_what_cannot_be_is_said():
    assert calibrate(labelled(), good=0.999, wanted=1.0, measure="area").rule is None
    with pytest.raises(InputError, match=f"7 videos have both masks and truth; calibrating takes {LEAST_VIDEOS}"):
        calibrate(labelled(7), good=0.6, wanted=0.9)
    with pytest.raises(InputError, match="border has no two different values"):
        calibrate(labelled(), good=0.6, wanted=0.9, measure="border")
    with pytest.raises(InputError, match="the same J&F, 1; there is nothing to calibrate"):
        calibrate(labelled().assign(quality=1.0), good=0.6, wanted=0.9)
