"""Choose the threshold on the presence on val videos, then measure it once on test videos: moving shapes, a quarter of
the sentences about nothing.

python benchmarks/presence.py --out presence [--checkpoint DIR] [--videos 200] [--t-acc 0.995]
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from scipy.stats import spearmanr

import refervos
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.segment import SegmentConfig
from jobs.segment import run as segment
from model.bundled import BUNDLED
from pipeline.cluster.session import connect_to_ray
from pipeline.datasets.synthetic.synthetic import SyntheticVideos

SEEDS = {"val": 2029, "test": 2030}
PAIR = ["video_id", "expression_id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--checkpoint", default=BUNDLED)
    parser.add_argument("--videos", type=int, default=200, help="of each split")
    parser.add_argument("--t-acc", type=float, default=0.995, help="wanted on the val videos")
    options = parser.parse_args()
    out = Path(options.out).absolute()
    with connect_to_ray("local"):
        val = scored(out, "val", options.checkpoint, options.videos, 0.0)
        threshold = chosen_threshold(val, options.t_acc)
        print(f"val: {len(val)} pairs; T-acc is {options.t_acc} or more up to --no-target-below {threshold}")
        test = scored(out, "test", options.checkpoint, options.videos, threshold)
    print("\n".join(report({"val, all masks": val, f"test, --no-target-below {threshold}": test})))


def scored(out: Path, split: str, checkpoint: str, videos: int, threshold: float) -> pd.DataFrame:
    """Segment the videos of a split. Return its pairs with presence, quality, pair_score, J&F, N-acc and T-acc."""
    manifest, annotations = (str(out / split / f"{name}.parquet") for name in ("manifest", "annotations"))
    if not Path(manifest).exists():
        data = SyntheticVideos(videos=videos, split=split, frames=(8, 12), no_target=True, seed=SEEDS[split])
        data.write(str(out / split))
    run = str(out / f"run-{split}-{threshold}")
    segment(SegmentConfig(manifest=manifest, run=run, checkpoint=checkpoint, no_target_below=threshold))
    scores = evaluate(EvaluateConfig(predictions=run, annotations=annotations, out=f"{run}-scores")).pairs
    rows = refervos.read_masks(run, columns=[*PAIR, "presence", "quality", "pair_score"]).to_pandas()
    pairs = rows.groupby(PAIR, as_index=False).first().merge(scores[[*PAIR, "J&F", "N-acc", "T-acc"]], on=PAIR)
    assert len(pairs) == pq.read_metadata(manifest).num_rows
    return pairs


def chosen_threshold(pairs: pd.DataFrame, t_acc: float) -> float:
    """Return the highest threshold, in steps of 0.01, that keeps the masks of so large a share of the real targets."""
    known: Any = pairs[pairs["T-acc"].notna()]
    steps = [step / 100 for step in range(100)]
    return max((x for x in steps if float(((known["presence"] >= x) * known["T-acc"]).mean()) >= t_acc), default=0.0)


def report(found: dict[str, pd.DataFrame]) -> list[str]:
    """Format the figures as Markdown; J&F and both rank correlations are of the pairs with a target."""
    lines = [
        "| | pairs | N-acc | T-acc | J&F | rank of quality | rank of pair_score | mean quality | mean J&F of all |"
    ]
    lines.append("|" + " --- |" * 9)
    for name, pairs in found.items():
        known = pairs[pairs["T-acc"].notna()]
        ranks = [spearmanr(known[signal], known["J&F"])[0] for signal in ("quality", "pair_score")]
        figures = [pairs["N-acc"].mean(), pairs["T-acc"].mean(), known["J&F"].mean(), *ranks]
        figures += [pairs["quality"].mean(), pairs["J&F"].mean()]
        lines.append(f"| {name} | {len(pairs)} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    return lines


if __name__ == "__main__":
    main()
