"""Options of `rvos import`."""

from collections import ChainMap
from dataclasses import fields
from typing import Any

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, command_config, option, option_of
from jobs.config.segment import SegmentConfig
from pipeline.datasets.registry import DATASETS
from schemas import kinds
from schemas.errors import InputError
from schemas.kinds import Role

MASKS = "masks"  # what another tool wrote, in place of the name of a data set
FORMS = "VIDEO/EXPRESSION/FRAME.png, label maps VIDEO/FRAME.png, Parquet tables or JSON results, with --manifest"
OF_DATASETS = ("split", "expressions", "context", "follow_links")  # of some of them
OF_MASKS = ("manifest", "missing", "unsafe_storage", "allow_local", "allow_private")


@command_config
class ImportConfig(MediaOptions):
    """Convert a data set to a manifest, or masks to a run.

    ROOT is a folder or a file. DATASET says how it is laid out: as a published data set, coco-video (the JSON of
    YouTube-VIS), folder (any tree of videos, with a file of expressions), webdataset (tar shards) or list (a file of
    URIs with expressions). If DATASET is 'masks', ROOT holds masks that another tool wrote for the pairs of --manifest
    (a tree of PNGs, JSON results of YouTube-VIS or Parquet tables), and OUT becomes a run.
    Prints the number of videos and expressions next to the published numbers, and what was left out.

        rvos import ref-youtube-vos /data/ref-youtube-vos --split valid --out data/
        rvos import mevis s3://bucket/mevis --split valid_u --out s3://bucket/manifests/mevis
        rvos import a2d /data/a2d_sentences --split test --context 5 --out data/
        rvos import folder /data/clips --expressions sentences.csv --out data/
        rvos import list clips.csv --out data/
        rvos import masks their_masks/ --manifest data/manifest.parquet --out runs/theirs

    Files of expressions:

        name.csv      a header with the column expression; optional: video (path relative
                      to ROOT; without it, the row is for all videos) and expression_id;
                      any other column becomes an attribute
        name.tsv, name.jsonl (one JSON object per line), name.parquet: the same columns
        name.txt      one expression per line, for all videos
    """

    dataset: str = argument(metavar="DATASET", choices=ChainMap[str, Any]({MASKS: FORMS}, DATASETS))
    root: str = argument(takes=kinds.DATASET)
    out: str = option(
        takes=kinds.NEW_FOLDER,
        help="Folder for manifest.parquet, annotations.parquet, void.parquet (pixels that are not scored) and "
        "foreground.parquet (pixels of any object). Tables without rows are not written. For masks: the run.",
    )
    split: str | None = option(
        default=None,
        help="Split as named by the data set: train, valid, 2017/val ...; an unknown name fails and lists the splits.",
    )
    expressions: str | None = option(
        default=None,
        metavar="FILE",
        takes=kinds.SENTENCES,
        help="File of expressions for 'folder': .csv, .tsv, .jsonl, .parquet or .txt, local or s3://.",
    )
    context: int | None = option(
        default=None,
        least=1,
        help="For a2d and jhmdb: make one pair for each sentence and annotated frame, with that frame in the "
        "middle of N frames. Give 5 for 'rvos segment --rules a2d' or 'jhmdb'.",
    )

    follow_links: bool = option(
        default=False, help="For 'folder': follow links that leave ROOT; without it they are left out and counted."
    )
    force: bool = option(
        default=False,
        help="Import masks as they are, even if their RLE seems to be in row order (COCO's is in column order), "
        "if all frame numbers or expression ids are shifted, if most frames have no mask while about as many masks "
        "belong to other frames, or if label maps do not fit the object_ids of the manifest.",
    )
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        heading="Masks of other tools",
        help="For 'masks': manifest that lists the pairs to which the masks belong.",
    )
    missing: str = option(
        default="error",
        choices=("error", "empty"),
        heading="Masks of other tools",
        help="For 'masks': what becomes of a pair that lacks masks of some frames. error: the pair fails; empty: "
        "these frames get empty masks. If none of the frames of a pair has a file or row, the pair fails in both "
        "cases. A label map that does not show the object is an empty mask. If no label map of the video shows "
        "it, the pair fails; with '--missing empty' all its masks are empty.",
    )
    unsafe_storage: bool = option_of(SegmentConfig, "unsafe_storage")

    def __post_init__(self) -> None:
        if self.dataset == MASKS and self.manifest is None:
            raise InputError("masks need --manifest, the manifest of the pairs that they are of")
        own = OF_MASKS if self.dataset == MASKS else DATASETS[self.dataset].options
        for item in fields(self):
            name = item.name
            if name in (*OF_DATASETS, *OF_MASKS) and name not in own and getattr(self, name) != item.default:
                raise InputError(f"{self.dataset} takes no --{name.replace('_', '-')}; leave it out")

    @property
    def roles(self) -> dict[str, Role]:
        """Return what ROOT must hold, which depends on the data set."""
        if self.dataset == MASKS:
            return {"root": kinds.FOREIGN_MASKS, "out": kinds.NEW_RUN}
        return {"root": DATASETS[self.dataset].root}
