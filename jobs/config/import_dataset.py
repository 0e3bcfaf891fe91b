"""Options of `rvos import_dataset`."""

from jobs.config.options import argument, command_config, option
from pipeline.datasets.registry import DATASETS
from schemas.errors import InputError


@command_config
class ImportConfig:
    """Turn the data set in the folder ROOT into a manifest, and its masks into annotations.

    DATASET says what ROOT looks like: ref-youtube-vos, ref-davis17, davis, mevis, mevis-v2, a2d, jhmdb, revos,
    long-rvos, coco-video (the form of YouTube-VIS), or folder: any tree of videos, with a file of sentences. What is
    found is counted beside what the authors of the set say.

    \b
    rvos import ref-youtube-vos /data/ref-youtube-vos --split valid --out data/
    rvos import mevis s3://bucket/mevis --split valid_u --out s3://bucket/manifests/mevis
    rvos import a2d /data/a2d_sentences --split test --context 5 --out data/
    rvos import folder /data/clips --expressions sentences.csv --out data/

    \b
    sentences.csv    expression, and if wanted video (its path below ROOT; without: for all videos),
                     expression_id, and any attributes
    sentences.txt    one sentence in each line, for all videos
    """

    dataset: str = argument(
        metavar="DATASET",
        choices=tuple(DATASETS),
    )
    root: str = argument(is_path=True)
    out: str = option(is_path=True, help="Folder for manifest.parquet, annotations.parquet and so on.")
    split: str | None = option(
        default=None, help="Split of the published layout: train, valid, 2017/val ...; a wrong one lists them."
    )
    expressions: str | None = option(
        default=None, metavar="FILE", is_path=True, help="folder: sentences as .csv, .jsonl or .txt, local or s3://."
    )
    context: int | None = option(
        default=None,
        least=1,
        help="a2d, jhmdb: a pair for each annotated frame, in the middle of so many (published: 5).",
    )

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise InputError(f"no data set '{self.dataset}'; there are {', '.join(DATASETS)}")
        takes = DATASETS[self.dataset].options
        for name in ("split", "expressions", "context"):
            if getattr(self, name) is not None and name not in takes:
                raise InputError(f"{self.dataset} takes no --{name}; leave it out")
