"""How often the intervals, p-values and rankings of `rvos` hold what they say, on simulated scores.

    python -m benchmarks.statistics [--repeats 2000] [--seed 0] [--part coverage changes boards cuts]

(As a module: as a script, its folder would hide the standard library's `statistics`.) A set has V videos of 1 to 20
pairs. Its pairs are drawn around a value of their video, from worlds whose true mean is known. Calibrations choose a
cut of five signals on V labelled videos, and its precision is taken from 40,000 others. Each cell of a table has its
own random numbers, which follow from the seed and the cell alone.
"""

import argparse
import functools
import zlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from pipeline.evaluation.summary.intervals import OF_DIFFERENCES, Inference
from pipeline.evaluation.summary.protocol_mean import VideoSums
from pipeline.evaluation.summary.ranking import pairwise_p
from pipeline.selection.calibration import calibrate
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from schemas.errors import InputError

VIDEOS = (5, 10, 30, 100, 300)
RANKED = VIDEOS[:-1]  # of leaderboards
MOST_PAIRS = 20  # of a video
AT_ONCE = 500  # sets drawn together
MEANS = ("normal", "skewed", "near 1", "bimodal", "size-linked")
LABELLED = (10, 20, 50, 100, 300)
SIGNALS = {"weak": 0.6, "medium": 1.2, "strong": 2.4}  # how much of J&F is in the best signal
GOOD = 0.7
CHANGES = ("symmetric", "sparse", "heavy tails", "exponential", "gamma", "lognormal", "skewed", "mirrored", "rare")
FEW = {"skewed": 0.1, "rare": 0.05}  # share of videos that change by far more than the others


def generator(seed: int, *cell: object) -> np.random.Generator:
    """Return the random numbers of one cell of a table."""
    return np.random.default_rng([seed, zlib.crc32(repr(cell).encode())])


def scores(rng: np.random.Generator, sizes: np.ndarray, world: str) -> np.ndarray:
    """Draw scores of all pairs, [R, V, MOST_PAIRS], of R sets whose videos have `sizes` [R, V] pairs."""
    shape = (*sizes.shape, MOST_PAIRS)

    def around(mean: np.ndarray, concentration: float, least: float) -> np.ndarray:
        a, b = concentration * mean[..., None] + least, concentration * (1 - mean[..., None]) + least
        return rng.beta(np.broadcast_to(a, shape), np.broadcast_to(b, shape))

    match world:
        case "normal":
            return 0.6 + 0.1 * rng.standard_normal((*sizes.shape, 1)) + 0.1 * rng.standard_normal(shape)
        case "skewed":
            return around(rng.beta(4, 1.2, sizes.shape), 8, 0.05)
        case "near 1":
            return around(rng.beta(30, 0.7, sizes.shape), 60, 0.05)
        case "bimodal":
            lost = rng.random(shape) < rng.beta(0.5, 1, (*sizes.shape, 1))
            return np.where(lost, 0.0, rng.beta(9, 1.5, shape))
        case "size-linked":
            return around(np.clip(0.9 - 0.03 * sizes + 0.1 * rng.standard_normal(sizes.shape), 0.02, 0.98), 8, 0)
    raise ValueError(world)


def changes(rng: np.random.Generator, sizes: np.ndarray, world: str) -> np.ndarray:
    """Draw changes whose true mean is 0, of all pairs, [R, V, MOST_PAIRS]."""
    shape, by_video = (*sizes.shape, MOST_PAIRS), (*sizes.shape, 1)
    match world:
        case "symmetric":
            return 0.03 * rng.standard_normal(by_video) + 0.1 * rng.standard_normal(shape)
        case "sparse":
            flips = rng.random(shape) < rng.beta(0.3, 2, by_video)
            return np.where(flips, rng.choice([-1, 1], shape) * rng.beta(6, 2, shape), 0.0)
        case "heavy tails":
            return 0.02 * rng.standard_t(2, by_video) + 0.02 * rng.standard_t(2, shape)
        case "skewed" | "rare":  # few videos get much worse, all others a little better
            share = FEW[world]
            of_video = np.where(rng.random(by_video) < share, share - 1, share) * 0.3
            return of_video + 0.01 * rng.standard_normal(by_video) + 0.02 * rng.standard_normal(shape)
        case "mirrored":
            return -changes(rng, sizes, "skewed")
        case "exponential" | "gamma":
            power = {"exponential": 1.0, "gamma": 0.2}[world]
            return 0.05 * (power - rng.gamma(power, size=by_video)) + 0.02 * rng.standard_normal(shape)
        case "lognormal":
            of_video = 0.02 * (np.exp(1.5**2 / 2) - np.exp(1.5 * rng.standard_normal(by_video)))
            return of_video + 0.02 * rng.standard_normal(shape)
    raise ValueError(world)


def sums(rng: np.random.Generator, draw, world: str, repeats: int, videos: int) -> VideoSums:
    """Draw `repeats` sets, each as one mean of the result."""
    totals, counts = [], []
    for start in range(0, repeats, AT_ONCE):
        sizes = rng.integers(1, MOST_PAIRS + 1, (min(AT_ONCE, repeats - start), videos))
        exists = np.arange(MOST_PAIRS) < sizes[..., None]
        totals.append(np.where(exists, draw(rng, sizes, world), 0.0).sum(axis=-1))
        counts.append(sizes)
    by_video = (np.concatenate(each).T[:, None].astype(np.float64) for each in (totals, counts))
    return VideoSums(*by_video)


def coverage(world: str, videos: int, repeats: int, seed: int = 0) -> float:
    """Return the share of intervals that hold the true mean."""
    true = sums(generator(0, world), scores, world, 500, 500)
    mean = true.totals.sum() / true.weights.sum()
    drawn = sums(generator(seed, world, videos), scores, world, repeats, videos)
    low, high = Inference.of(drawn.means(), drawn.means_without(), drawn.shares(), drawn.videos()).interval()
    return float(np.mean((low <= mean) & (mean <= high)))


def difference(drawn: VideoSums) -> Inference:
    """Infer the changes as `rvos compare` does."""
    means = drawn.means(), drawn.means_without(), drawn.shares(), drawn.videos()
    return Inference.of(*means, lowest=-1.0, multiples=OF_DIFFERENCES)


def false_positives(world: str, videos: int, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of p below 0.05, and that of sets whose p and interval contradict each other."""
    found = difference(sums(generator(seed, world, videos), changes, world, repeats, videos))
    p, (low, high) = found.p(), found.interval()
    return float(np.mean(p < 0.05)), float(np.mean((p < 0.05) != ((low > 0) | (high < 0))))


def power_of_smallest(videos: int, repeats: int, seed: int = 0) -> float:
    """Return how often the change that `smallest` names is found, where it is the true one (symmetric changes)."""
    drawn = sums(generator(seed, "power", videos), changes, "symmetric", repeats, videos)
    shift = float(np.nanmedian(difference(drawn).smallest()))
    moved = VideoSums(drawn.totals + shift * drawn.weights, drawn.weights)
    return float(np.mean(difference(moved).p() < 0.05))


def false_claims(entries: int, videos: int, repeats: int, seed: int = 0) -> float:
    """Return the share of leaderboards of equal entries on which some pair has p below 0.05."""
    rng, hits = generator(seed, "board", entries, videos), 0
    for _ in range(repeats):
        sizes = rng.integers(1, MOST_PAIRS + 1, videos).astype(np.float64)
        of_video = 0.5 + 0.05 * rng.standard_normal((videos, entries))
        totals = sizes[:, None] * of_video + 0.1 * np.sqrt(sizes[:, None]) * rng.standard_normal((videos, entries))
        weights = np.broadcast_to(sizes[:, None, None], (videos, 1, entries)).copy()
        board = VideoSums(totals[:, None], weights)
        hits += bool((pairwise_p(board) < 0.05).any())
    return hits / repeats


def labelled_pairs(rng: np.random.Generator, videos: int, strength: float) -> pd.DataFrame:
    """Draw pairs with J&F and five signals of it. In hard videos more pairs are lost; 0.65 of all pairs are good."""
    of_video = np.repeat(np.arange(videos), rng.integers(1, MOST_PAIRS + 1, videos))
    count = len(of_video)
    lost = rng.random(count) < 0.6 * rng.beta(1, 1.5, videos)[of_video]
    quality = np.where(lost, rng.beta(1, 6, count), rng.beta(9, 2, count))
    noise = 0.5 * rng.standard_normal(videos)[of_video] + rng.standard_normal(count)
    signals = {
        "mean_score": strength * quality + 0.3 * noise,
        "temporal_iou": 0.8 * strength * quality + 0.4 * rng.standard_normal(count),
        "flicker": 0.3 * (rng.standard_normal(count) - quality),
        "fragments": np.round(2 - 0.5 * quality + 0.5 * rng.standard_normal(count)),
        "border": rng.random(count),
    }
    names = {"video_id": [f"{rng.integers(2**32)}-{video}" for video in of_video], "quality": quality}
    return pd.DataFrame(names | dict.fromkeys(QUALITY_SIGNALS, np.nan) | signals)


@functools.cache
def other_pairs(strength: float) -> pd.DataFrame:
    return labelled_pairs(generator(0, strength), 40_000, strength)


def calibrations(strength: float, wanted: float, videos: int, repeats: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of calibrations that offer a cut, and how many of the cuts have the precision elsewhere."""
    rng, reached = generator(seed, strength, wanted, videos), []
    others = other_pairs(strength)
    for _ in range(repeats):
        try:
            rule = calibrate(labelled_pairs(rng, videos, strength), GOOD, wanted).rule
        except InputError:  # the hash of the ids leaves too few videos to choose on
            continue
        if rule is not None:
            values = others[rule.measure]
            kept = values >= rule.bound if rule.comparison == ">=" else values <= rule.bound
            reached.append((others["quality"][kept] >= GOOD).mean() >= wanted)
    return len(reached) / repeats, float(np.mean(reached)) if reached else float("nan")


def calibration_cell(strength: float, wanted: float, videos: int, repeats: int, seed: int) -> str:
    offered, reached = calibrations(strength, wanted, videos, repeats, seed)
    return f"{offered:.2f}, {'-' if reached != reached else f'{reached:.2f}'}"


def table(title: str, rows: Iterable[tuple[str, Iterable[str]]], videos: tuple[int, ...] = VIDEOS) -> None:
    """Print a table in Markdown, row by row."""
    print(f"\n| {title} | {' | '.join(f'{count} videos' for count in videos)} |")
    print(f"| --- |{' --- |' * len(videos)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_coverage(repeats: int, seed: int) -> None:
    rows = ((w, (f"{coverage(w, v, repeats, seed):.3f}" for v in VIDEOS)) for w in MEANS)
    table("coverage of the 95 % interval", rows)


def print_changes(repeats: int, seed: int) -> None:
    claims = {world: [false_positives(world, count, repeats, seed) for count in VIDEOS] for world in CHANGES}
    table("p < 0.05 without a change", [(w, [f"{p:.3f}" for p, _ in cells]) for w, cells in claims.items()])
    table("p contradicts the interval", [(w, [f"{x:.3f}" for _, x in cells]) for w, cells in claims.items()])
    table("power at `smallest`", [("symmetric", [f"{power_of_smallest(v, repeats, seed):.3f}" for v in VIDEOS])])


def print_boards(repeats: int, seed: int) -> None:
    rows = ((f"{k} entries", (f"{false_claims(k, v, repeats // 10, seed):.3f}" for v in RANKED)) for k in (2, 10, 20))
    table("a false claim among equal entries", rows, RANKED)


def print_cuts(repeats: int, seed: int) -> None:
    kinds = [(name, strength, wanted) for wanted in (0.9, 0.8) for name, strength in SIGNALS.items()]
    rows = (
        (f"{name}, {wanted}", [calibration_cell(strength, wanted, v, repeats // 10, seed) for v in LABELLED])
        for name, strength, wanted in kinds
    )
    table("calibrations with a cut, share of cuts that keep their precision", rows, LABELLED)


PARTS = {"coverage": print_coverage, "changes": print_changes, "boards": print_boards, "cuts": print_cuts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=2000, help="simulated sets per cell; a tenth for leaderboards and calibrations"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    for part in options.part:
        PARTS[part](options.repeats, options.seed)


if __name__ == "__main__":
    main()
