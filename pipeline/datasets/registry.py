"""Registry of the data sets that `rvos import` reads. It holds plain data, so that `cli.py` can import it quickly.

A reader is a function `read(root, **options)`. It yields one `DatasetVideo` after the other, sorted by id, and raises
InputError if the folder `root` does not hold the data set. Its module is imported on first use.
"""

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import kinds

if TYPE_CHECKING:
    from pipeline.datasets.common.dataset_video import DatasetVideo


@dataclass(frozen=True, slots=True)
class PublishedCounts:
    """Size of a split as its authors state it (None: not stated), to check whether a download is complete."""

    split: str
    videos: int | None
    expressions: int | None
    source: str

    def __str__(self) -> str:
        stated = ((self.expressions, "expressions"), (self.videos, "videos"))
        counts = " in ".join(f"{count} {noun}" for count, noun in stated if count is not None)
        return f"{self.split}: {counts} ({self.source})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A data set: its reader, and its published size."""

    reader: str  # "module:function"
    layout: str  # of the folder ROOT, in one line
    options: tuple[str, ...] = ("split",)  # of `rvos import`, which the reader takes as keyword arguments
    root: kinds.Role = kinds.DATASET  # what ROOT is to hold
    published: tuple[PublishedCounts, ...] = ()

    def __str__(self) -> str:
        return self.layout

    @property
    def read(self) -> "Callable[..., Iterator[DatasetVideo]]":
        """The reader itself."""
        return pkgutil.resolve_name(self.reader)

    def published_counts(self, split: str | None) -> tuple[PublishedCounts, ...]:
        """Counts of one split; of all splits if it is unknown which one was read, or nothing is published for it."""
        if not split:
            return self.published
        exact = tuple(counts for counts in self.published if f"/{counts.split}".endswith(f"/{split}"))
        similar = tuple(counts for counts in self.published if counts.split.startswith(split.partition("/")[0]))
        return exact or similar or self.published


DATASETS = {
    "ref-youtube-vos": Dataset(
        reader="pipeline.datasets.ref_youtube_vos:read",
        layout="meta_expressions/SPLIT/meta_expressions.json, SPLIT/JPEGImages/VIDEO/, SPLIT/Annotations/VIDEO/",
        published=(
            PublishedCounts("train", 3471, 12913, "Seo et al. 2020, full-video expressions"),
            PublishedCounts("valid", 202, 834, "the validation list of the authors' file, less its test videos"),
            PublishedCounts("valid and test", 507, 2096, "Seo et al. 2020, full-video expressions"),
        ),
    ),
    "ref-davis17": Dataset(
        reader="pipeline.datasets.ref_davis17:read",
        layout="DAVIS/ and davis_text_annotations/, or the layout of ref-youtube-vos",
        published=(
            PublishedCounts("train", 60, None, "DAVIS 2017"),
            PublishedCounts("valid", 30, 244, "the validation list of published loaders"),
        ),
    ),
    "davis": Dataset(
        reader="pipeline.datasets.davis:read",
        layout="JPEGImages/480p/VIDEO/, Annotations/480p/VIDEO/, ImageSets/",
        published=(
            PublishedCounts("2017/train", 60, None, "DAVIS 2017"),
            PublishedCounts("2017/val", 30, None, "DAVIS 2017"),
            PublishedCounts("2016, all", 50, None, "Perazzi et al. 2016"),
        ),
    ),
    "mevis": Dataset(
        reader="pipeline.datasets.mevis:read",
        layout="SPLIT/meta_expressions.json, SPLIT/mask_dict.json, SPLIT/JPEGImages/VIDEO/",
        published=(
            PublishedCounts("train", 1662, 23051, "README of the MeViS repository"),
            PublishedCounts("valid_u", 50, 793, "README of the MeViS repository"),
            PublishedCounts("valid", 140, 2236, "README of the MeViS repository"),
        ),
    ),
    "mevis-v2": Dataset(
        reader="pipeline.datasets.mevis:read_v2",
        layout="SPLIT/meta_expressions_v2.json, SPLIT/mask_dict.json, SPLIT/JPEGImages/VIDEO/",
        published=(
            PublishedCounts("train", 1662, 27502, "MeViS v2 project page"),
            PublishedCounts("valid_u", 50, 907, "MeViS v2 project page"),
            PublishedCounts("valid", 140, 2523, "MeViS v2 project page"),
        ),
    ),
    "a2d": Dataset(
        reader="pipeline.datasets.a2d:read",
        layout="Release/clips320H/VIDEO.mp4, Release/videoset.csv, text_annotations/",
        options=("split", "context"),
        published=(
            PublishedCounts("all", 3782, 6655, "rows of videoset.csv and a2d_annotation.txt, by the loader of MTTR"),
        ),
    ),
    "jhmdb": Dataset(
        reader="pipeline.datasets.jhmdb:read",
        layout="Rename_Images/ACTION/VIDEO/, puppet_mask/ACTION/VIDEO/puppet_mask.mat, jhmdb_annotation.txt",
        options=("context",),
        published=(PublishedCounts("all", 928, 928, "jhmdb_annotation.txt, by the loader of MTTR"),),
    ),
    "revos": Dataset(
        reader="pipeline.datasets.revos:read",
        layout="meta_expressions_SPLIT_.json, mask_dict.json, mask_dict_foreground.json, JPEGImages/VIDEO/",
        published=(PublishedCounts("train and valid", 1042, 35074, "VISA, abstract of the paper"),),
    ),
    "long-rvos": Dataset(
        reader="pipeline.datasets.long_rvos:read",
        layout="SPLIT/meta_expressions.json, SPLIT/JPEGImages/VIDEO/, SPLIT/Annotations/VIDEO/OBJECT/NAME.png",
        published=(
            PublishedCounts("train", 1855, None, "Long-RVOS, its benchmark page"),
            PublishedCounts("valid", 112, None, "Long-RVOS, its benchmark page"),
            PublishedCounts("test", 226, None, "Long-RVOS, its benchmark page"),
            PublishedCounts("all", 2193, 24689, "Long-RVOS, its benchmark page"),
        ),
    ),
    "coco-video": Dataset(
        reader="pipeline.datasets.coco_video:read",
        layout="JSON in the form of YouTube-VIS: SPLIT.json, SPLIT/instances.json or the file itself; JPEGImages/",
        root=kinds.DATASET_OR_FILE,
    ),
    "folder": Dataset(
        reader="pipeline.datasets.folder:read",
        layout="any tree of video files and folders of images, with --expressions FILE",
        options=("expressions", "follow_links"),
    ),
    "webdataset": Dataset(
        reader="pipeline.datasets.webdataset:read",
        layout="*.tar of samples KEY.mp4 with KEY.json or KEY.txt; the videos stay in the shards",
        options=(),
        root=kinds.DATASET_OR_FILE,
    ),
    "list": Dataset(
        reader="pipeline.datasets.uri_list:read",
        layout="ROOT is a .csv, .tsv, .jsonl or .parquet file; each row has a video_uri and an expression",
        options=(),
        root=kinds.URI_LIST,
    ),
}
