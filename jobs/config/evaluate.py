"""Options of `rvos evaluate`."""

from collections.abc import Iterable

from jobs.config.options import argument, command_config, option, require_choice
from pipeline.evaluation.protocols import MISSING, PROTOCOLS


@command_config
class EvaluateConfig:
    """Score predicted masks against annotations.

    PREDICTIONS: a run, a Parquet file or folder, or a tree of PNGs. ANNOTATIONS: Parquet or a tree of PNGs.

        rvos evaluate runs/first data/annotations.parquet --out scores/ --protocol ref-davis17 --by annotator
        rvos evaluate Results/ data/annotations.parquet --out scores/ --by object_size:q4 --by words,motion
        rvos evaluate --explain mevis
    """

    predictions: str = argument(is_path=True)
    annotations: str = argument(is_path=True)
    out: str = option(is_path=True, help="Folder for scores.parquet, frame_scores.parquet and summary.json.")
    manifest: str | None = option(
        default=None, is_path=True, help="Manifest with objects and attributes.  [default: the run's own]"
    )
    protocol: str = option(
        default="all-frames",
        choices=tuple(PROTOCOLS),
        metavar="NAME",
        help=f"Benchmark whose frames, matching and averaging to use: {', '.join(PROTOCOLS)}; see --explain.",
    )
    by: tuple[str, ...] = option(
        default=(),
        metavar="ATTRIBUTE",
        help="Group scores by a manifest column, or by object_size, motion, disappears, track_length, touches_border, "
        "words or expressions_per_video. size:q4 groups by quartiles, words:4/8 by edges, a,b by both; repeatable.",
    )
    missing: str | None = option(
        default=None,
        choices=tuple(MISSING),
        help="Masks that are not predicted score zero, count as empty, stop the evaluation, or are left out.  "
        "[default: the protocol's]",
    )
    address: str | None = option(
        default=None,
        metavar="local|auto|HOST:PORT",
        help="Ray cluster to score on.  [default: this process, or local if predictions exceed 96 MiB]",
    )

    def __post_init__(self) -> None:
        require_choice("--protocol", self.protocol, PROTOCOLS)
        if self.missing is not None:
            require_choice("--missing", self.missing, MISSING)
        check_groupings(self.by)


def check_groupings(texts: Iterable[str]) -> None:
    """Raise InputError for a `--by` that cannot be parsed."""
    from pipeline.evaluation.summary.grouping import Grouping

    for text in texts:
        Grouping.parse(text)
