"""Options of `rvos select`."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, cluster_address, command_config, option, require_choice
from schemas import kinds
from schemas.errors import InputError


@command_config
class SelectConfig(MediaOptions):
    """Select pairs of a run as labels to train on.

    Computes quality signals for each pair of RUN and keeps the pairs that pass all rules. pairs.parquet lists every
    pair with its signals, and the reason if it is dropped. manifest.parquet lists the kept pairs. report.html shows the
    kept and the dropped pairs nearest to the bound of each rule. Signals (defined in docs/selection.md): frames,
    mean_score, lowest_score, predicted_quality, margin, temporal_iou, lowest_temporal_iou, flicker, area, area_jump,
    centroid_jump, fragments, border, empty, repeats, paraphrases, other_run, least_other_run.

        rvos select runs/first --out kept/ --rule "mean_score >= 0.6" --rule "flicker <= 0.1"
        rvos select runs/first --out kept/ --calibrate labelled/annotations.parquet --precision 0.9
        rvos train --data kept/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """

    run: str = argument(takes=kinds.MASKS)
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        heading="Pairs",
        help="Use only the pairs of this manifest.  [default: the run's own]",
    )
    against: tuple[str, ...] = option(
        default=(),
        metavar="OTHER",
        takes=kinds.MASKS,
        heading="Pairs",
        help="Compare with the run OTHER, which has some of the same pairs: adds the signal other_run (mean IoU of the "
        "masks of both runs) and, for several OTHERs, least_other_run (the lowest of these IoUs). Repeatable.",
    )
    rule: tuple[str, ...] = option(
        default=(), metavar="RULE", heading="Rules", help="Rule for pairs to keep, as 'mean_score >= 0.6'. Repeatable."
    )
    rules: str | None = option(
        default=None,
        metavar="FILE",
        takes=kinds.RULES,
        heading="Rules",
        help="File of rules, one per line; # is a comment.",
    )
    calibrate: str | None = option(
        default=None,
        metavar="ANNOTATIONS",
        takes=kinds.ANNOTATIONS,
        heading="Calibration",
        help="Annotations of some pairs. Use these pairs to choose a bound for one signal (--measure). A "
        "third of their videos gives the bound to start from. On the other videos, looser and looser bounds are tried, "
        "as long as the precision is at least --precision with 90 % confidence. The loosest of these bounds is applied "
        "with the other rules.",
    )
    measure: str | None = option(
        default=None,
        metavar="NAME",
        heading="Calibration",
        help="With --calibrate: signal to find the bound for.  [default: the signal that correlates most strongly "
        "with J&F; never the signal 'frames']",
    )
    good: float = option(
        default=0.7, least=0, most=1, heading="Calibration", help="A pair is good if its J&F is at least X."
    )
    precision: float = option(
        default=0.9,
        least=0,
        most=1,
        heading="Calibration",
        help="With --calibrate: least share of the kept pairs that must be good (see --good).",
    )
    address: str | None = cluster_address(
        None,
        help="Ray cluster to compute signals on.",
        note="[default: no Ray, compute in this process; above 20,000 masks: local]",
    )
    out: str = option(
        takes=kinds.NEW_FOLDER,
        heading="Output",
        help="Folder for pairs.parquet, manifest.parquet, summary.json and report.html, new or from the same command.",
    )
    svg: bool = option(
        default=False,
        heading="Output",
        help="With --calibrate: also write the plot of the page as a file, OUT/plots/curve.svg.",
    )

    def __post_init__(self) -> None:
        from pipeline.selection.quality_signals import QUALITY_SIGNALS
        from pipeline.selection.rules import read_rules

        if self.measure is not None:
            require_choice("--measure", self.measure, QUALITY_SIGNALS)
            if self.calibrate is None:
                raise InputError("--measure needs --calibrate, which finds a cut of it; give both")
        read_rules(self.rule, None)
