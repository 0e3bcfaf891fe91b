"""Options of `rvos select`."""

from jobs.config.options import argument, command_config, option
from schemas.errors import InputError


@command_config
class SelectConfig:
    """Measure the masks of RUN, pair by pair, and say which to keep as labels to train on.

    pairs.parquet has every pair with its numbers, keep, and the reason if it is dropped; manifest.parquet has the kept
    ones; report.html shows pairs on both sides of each rule. The numbers: frames, mean_score, lowest_score, margin,
    temporal_iou, lowest_temporal_iou, flicker, area, area_jump, centroid_jump, fragments, border, empty, repeats,
    paraphrases, other_run.

    \b
    rvos select runs/first --out kept/ --rule "mean_score >= 0.6" --rule "flicker <= 0.1"
    rvos select runs/first --out kept/ --calibrate labelled/annotations.parquet --precision 0.9
    rvos train --data kept/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """

    run: str = argument(is_path=True)
    out: str = option(is_path=True, help="New folder for pairs.parquet, manifest.parquet, summary.json, report.html.")
    manifest: str | None = option(
        default=None, is_path=True, help="Manifest that chooses among the pairs.  [default: the run's own]"
    )
    rule: tuple[str, ...] = option(
        default=(), metavar="RULE", help="Keep pairs with, say, 'mean_score >= 0.6'; repeatable."
    )
    rules: str | None = option(default=None, metavar="FILE", is_path=True, help="Rules, one a line; # before remarks.")
    against: str | None = option(
        default=None, metavar="RUN", is_path=True, help="Another run of the same pairs; agreement with it is other_run."
    )
    calibrate: str | None = option(
        default=None, metavar="ANNOTATIONS", is_path=True, help="Masks of some pairs; cut where these have --precision."
    )
    measure: str | None = option(
        default=None, metavar="NAME", help="Measure to cut.  [default: the one that goes best with J&F]"
    )
    good: float = option(default=0.7, least=0, most=1, help="J&F from which on a pair is good.")
    precision: float = option(
        default=0.9, least=0, most=1, help="Share of good pairs among those kept that --calibrate aims at."
    )
    address: str | None = option(
        default=None,
        metavar="local|auto|HOST:PORT",
        help="Ray cluster to measure on.  [default: this process; from 20,000 masks on a local one]",
    )

    def __post_init__(self) -> None:
        from pipeline.selection.quality_signals import QUALITY_SIGNALS
        from pipeline.selection.rules import read_rules

        if self.measure is not None and self.measure not in QUALITY_SIGNALS:
            raise InputError(f"--measure: there is no '{self.measure}'; there are {', '.join(QUALITY_SIGNALS)}")
        if self.measure is not None and self.calibrate is None:
            raise InputError("--measure says what --calibrate cuts; give both")
        for name, value in (("--good", self.good), ("--precision", self.precision)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} {value} is no share; give a number from 0 to 1")
        read_rules(self.rule, None)
