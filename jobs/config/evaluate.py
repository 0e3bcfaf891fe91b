"""Options of `rvos evaluate`."""

from collections.abc import Iterable

from jobs.config.options import argument, cluster_address, command_config, finish_command, option, table_format
from pipeline.evaluation.protocols import MISSING, PROTOCOLS
from schemas import kinds


@command_config
class EvaluateConfig:
    """Score predicted masks against annotations.

    PREDICTIONS is a run, a Parquet file or folder of masks, or a tree of PNGs. ANNOTATIONS is the ground truth, as
    Parquet or a tree of PNGs; or another run, to compare two models.

        rvos evaluate runs/first data/annotations.parquet --out scores/ --protocol ref-davis17 --by annotator
        rvos evaluate Results/ data/annotations.parquet --out scores/ --by object_size:q4 --by words,motion
        rvos evaluate runs/first data/annotations.parquet --out scores/ --format latex > table.tex
        rvos evaluate --explain mevis
    """

    predictions: str = argument(takes=kinds.PREDICTIONS)
    annotations: str = argument(takes=kinds.ANNOTATIONS)
    out: str = option(takes=kinds.NEW_SCORES, help="Folder for scores.parquet, frame_scores.parquet and summary.json.")
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        help="Manifest with the pairs to score, their objects and attributes.  [default: the run's own, else all "
        "annotated pairs]",
    )
    protocol: str = option(
        default="all-frames",
        choices=PROTOCOLS,
        metavar="NAME",
        help="Rules for which frames are scored, how masks are matched to objects, and how scores are averaged: "
        f"{', '.join(PROTOCOLS)}; see --explain.",
    )
    by: tuple[str, ...] = option(
        default=(),
        metavar="ATTRIBUTE",
        help="Group scores by a manifest column, or by object_size, motion, disappears, track_length, touches_border, "
        "words or expressions_per_video. NAME:q4 forms quartiles, NAME:4/8 forms bins with these edges, and A,B "
        "combines two attributes. Repeatable.",
    )
    missing: str | None = option(
        default=None,
        choices=tuple(MISSING),
        help="Frames without a prediction: zero = score 0; empty = scored as an empty mask, which is correct in "
        "frames without the object; error = fail; skip = leave out.  [default: the protocol's]",
    )
    force: bool = option(
        default=False,
        help="Score even if the input looks wrong: label maps whose values are not the object ids, or whose background "
        "is not 0; only empty masks; RLE in row order; annotations of void pixels only; shifted frame numbers; no "
        "frame name in common with the annotations. Without it, such input fails.",
    )
    workers: int | None = option(
        default=None, least=1, help="Threads that read PNG masks.  [default: number of CPU cores]"
    )
    address: str | None = cluster_address(
        None,
        heading="Options",
        help="Ray cluster to score on.",
        note="[default: no Ray, score in this process; above 96 MiB of predictions: local]",
    )
    print_as: str | None = table_format()
    on_finish: str | None = finish_command("OUT")

    def __post_init__(self) -> None:
        check_groupings(self.by)


def check_groupings(texts: Iterable[str]) -> None:
    """Raise InputError for a `--by` that cannot be parsed."""
    from pipeline.evaluation.summary.grouping import Grouping

    for text in texts:
        Grouping.parse(text)
