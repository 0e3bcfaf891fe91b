"""Quality signals of `rvos select` on moving shapes: correlation with J&F, and the scores of the labels kept.

python benchmarks/selection.py --out selection [--checkpoint DIR] [--videos 200] [--no-target] [--cut SIGNAL ...]
    [--against SHORT_SIDE:WINDOW ...]
"""

import argparse
from pathlib import Path

from jobs import segment, select
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from model.bundled import BUNDLED
from pipeline.cluster.session import connect_to_ray
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.selection.calibration import Calibration
from schemas.errors import InputError

PRECISIONS = (0.7, 0.8, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="new folder, or one of an earlier run, whose masks are used again")
    parser.add_argument("--checkpoint", default=BUNDLED)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument(
        "--no-target", action="store_true", help="one more sentence for each video, about a shape that is not there"
    )
    parser.add_argument("--cut", nargs="*", default=["fragments", "mean_score"], help="quality signals to cut")
    parser.add_argument(
        "--against", nargs="*", default=[], metavar="SIDE:WINDOW", help="other runs, with another size and window"
    )
    options = parser.parse_args()
    out = Path(options.out).absolute()
    manifest, annotations = (str(out / "data" / f"{name}.parquet") for name in ("manifest", "annotations"))
    if not Path(manifest).exists():
        videos = SyntheticVideos(
            videos=options.videos, split="val", frames=(8, 12), no_target=options.no_target, seed=2027
        )
        videos.write(str(out / "data"))
    run = str(out / "run")
    with connect_to_ray("local"):
        segment.run(SegmentConfig(manifest=manifest, run=run, checkpoint=options.checkpoint))
        others = tuple(str(out / f"run-{one.replace(':', '-')}") for one in options.against)
        for other, (side, _, window) in zip(others, (one.partition(":") for one in options.against), strict=True):
            config = {"manifest": manifest, "run": other, "checkpoint": options.checkpoint}
            segment.run(SegmentConfig(**config, short_side=int(side), window=window))
    found = [
        (precision, calibrated(run, annotations, str(out / f"{measure}-{precision}"), measure, precision, others))
        for measure in options.cut
        for precision in PRECISIONS
    ]
    print("\n".join(report([one for one in found if one[1]])))


def calibrated(
    run: str, annotations: str, out: str, measure: str, precision: float, others: tuple[str, ...] = ()
) -> Calibration | None:
    """Return None for a signal that cannot be calibrated."""
    config = SelectConfig(run=run, out=out, calibrate=annotations, measure=measure, precision=precision, against=others)
    try:
        return select.run(config).calibration
    except InputError as error:
        print(f"{measure}: {error}")
        return None


def report(found: list) -> list[str]:
    """Format the results as Markdown."""
    if not found:
        return ["nothing to report"]
    first: Calibration = found[0][1]
    lines = [f"{first.pairs} pairs of {first.videos} videos, good if J&F >= {first.good:g}", ""]
    lines += ["| quality signal | rank correlation with J&F | 95 % interval | pairs |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{one.measure}` | {one.rho:+.3f} | {one.low:+.3f} to {one.high:+.3f} | {one.pairs} |"
        for one in first.correlations
    ]
    head = ["precision wanted", "cut", "kept", "precision", "95 % interval", "without cut", "mean J&F", "without cut"]
    lines += ["", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [_line(wanted, one) for wanted, one in found]


def _line(wanted: float, found: Calibration) -> str:
    held = found.held_out
    if found.rule is None or held is None or held.precision is None:
        return f"| {wanted:g} | no cut of `{found.measure}` | | | | | | |"
    cells = [
        f"{wanted:g}",
        f"`{found.rule}`",
        f"{held.kept} of {held.pairs}",
        f"{held.precision:.3f}",
        f"{held.low:.3f} to {held.high:.3f}",
        f"{held.good_all:.3f}",
        f"{held.quality_kept:.3f}",
        f"{held.quality_all:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
