"""Options of `rvos evaluate`."""

from jobs.config.options import argument, command_config, option
from pipeline.evaluation.protocols import MISSING, PROTOCOLS
from schemas.errors import InputError


@command_config
class EvaluateConfig:
    """Score PREDICTIONS (a run, Parquet file or folder, or tree of PNGs) against ANNOTATIONS (Parquet or PNGs).

    \b
    rvos evaluate runs/first data/annotations.parquet --out scores/ --protocol ref-davis17 --by annotator
    rvos evaluate Results/ data/annotations.parquet --out scores/ --by object_size:q4 --by words,motion
    rvos evaluate --explain mevis
    """

    predictions: str = argument(is_path=True)
    annotations: str = argument(is_path=True)
    out: str = option(is_path=True, help="Folder for scores.parquet, frame_scores.parquet and summary.json.")
    manifest: str | None = option(
        default=None, is_path=True, help="Manifest that names objects and attributes.  [default: the run's own]"
    )
    protocol: str = option(
        default="all-frames",
        choices=tuple(PROTOCOLS),
        help="What counts, and how.",
    )
    by: tuple[str, ...] = option(
        default=(),
        metavar="ATTRIBUTE",
        help="Break scores down: a manifest column, or object_size, motion, disappears, track_length, touches_border, "
        "words, expressions_per_video; size:q4 for quantiles, words:4/8 for edges, a,b for both crossed; repeatable.",
    )
    missing: str | None = option(
        default=None,
        choices=tuple(MISSING),
        help="What is not predicted scores zero, counts as empty, is refused, or left out.  [default: the protocol's]",
    )
    address: str | None = option(
        default=None,
        metavar="local|auto|HOST:PORT",
        help="Ray cluster to score on.  [default: this process; local where predictions exceed 96 MiB]",
    )

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InputError(f"--protocol {self.protocol}: there is no such; there are {', '.join(PROTOCOLS)}")
        if self.missing not in (None, *MISSING):
            raise InputError(f"--missing {self.missing}: give one of {', '.join(MISSING)}")
        check_attributes(self.by)


def check_attributes(texts: tuple[str, ...]) -> None:
    """Raise InputError for a `--by` that cannot be read."""
    from pipeline.evaluation.summary.attributes import Grouping

    for text in texts:
        Grouping.parse(text)
