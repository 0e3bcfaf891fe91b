"""Kinds of files and folders, and the kinds that each argument takes; `pipeline.io.recognise` finds the kind of one."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kind of a file or folder, as a phrase for messages."""

    ABSENT = "not there"
    EMPTY_FILE = "an empty file"
    VIDEO = "a video"
    PICTURE = "a picture"
    PTH = "a checkpoint file of torch (.pth)"
    SAFETENSORS = "a file of weights (.safetensors)"
    ZIP = "a zip file"
    TAR = "a tar file"
    PACKED = "a compressed file"
    JSON = "a JSON file"
    JSONL = "a JSONL file"
    CSV = "a CSV file"
    TSV = "a TSV file"
    TEXT = "a text file"
    MANIFEST = "a manifest"
    MASKS = "a table of predicted masks"
    ANNOTATIONS = "a table of annotations"
    SCORE_TABLE = "a table of scores"
    PARQUET = "a Parquet file"
    FILE = "a file of an unknown kind"
    CLOSED = "closed to this user (permission denied)"
    READ_ONLY = "an address that can only be read"
    EMPTY_FOLDER = "an empty folder"
    RUN = "a run"
    COMPACTED = "a copy of a run by 'rvos compact'"
    TRAINING = "a training"
    DEMO = "the folder of a demo"
    BOARD = "a leaderboard"
    SELECTION = "a selection"
    SCORES = "a folder of scores"
    CHECKPOINT = "a checkpoint folder"
    TOKENIZER = "a tokenizer folder"
    IMPORTED = "a folder with a manifest and annotations"
    PARQUETS = "a folder of Parquet files"
    SHARDS = "a folder of tar shards"
    DATASET = "the folder of a data set"
    VIDEOS = "a folder of videos"
    PICTURES = "a folder of pictures"
    PICTURE_TREE = "a tree of pictures"
    PNG_TREE = "a tree of PNGs"
    FOLDER = "a folder of an unknown kind"


K = Kind
_TABLES = {K.PARQUET, K.PARQUETS, K.FOLDER}
_TEXTS = {K.TEXT, K.CSV, K.TSV, K.JSON, K.FILE}  # TOML may begin as JSON does
_LISTS = {K.CSV, K.TSV, K.JSONL, K.JSON, K.PARQUET, K.MANIFEST, K.TEXT, K.FILE}
_LAYOUTS = {K.IMPORTED, K.PARQUETS, K.DATASET, K.VIDEOS, K.PICTURES, K.PICTURE_TREE, K.PNG_TREE, K.SHARDS, K.FOLDER}
# Folders that commands write to or resume; each command looks closer. Nothing is added to a run or a checkpoint.
_OUTPUTS = {
    *(K.ABSENT, K.EMPTY_FOLDER, K.COMPACTED, K.TRAINING, K.DEMO, K.SELECTION, K.SCORES),
    *_LAYOUTS,
}
_MASKS = {K.PNG_TREE, K.DATASET, *_TABLES}
_NEW = {K.ABSENT, K.EMPTY_FILE}


class Role(NamedTuple):
    """What an argument takes: a noun for it, the kinds that fit, and how to get one.

    Kinds that may be right without being recognised (FOLDER, PARQUET ...) are among them: the job looks closer.
    """

    noun: str
    kinds: frozenset[Kind]
    way: str

    @property
    def is_new(self) -> bool:
        """True for what the command makes."""
        return K.ABSENT in self.kinds


def _role(noun: str, kinds: Iterable[Kind], way: str) -> Role:
    return Role(noun, frozenset(kinds), way)


MANIFEST = _role(
    "a manifest",
    {K.MANIFEST, *_TABLES},
    "'rvos import folder clips/ --expressions sentences.csv --out data/' writes data/manifest.parquet",
)
RUN = _role(
    "a run",
    {K.RUN, K.FOLDER},
    "'rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/' makes the run runs/first",
)
PLANNED = _role("a manifest or a run", {*MANIFEST.kinds, K.RUN}, MANIFEST.way)
MASKS = _role("a run or a table of masks", {K.RUN, K.MASKS, K.COMPACTED, *_TABLES}, RUN.way)
PREDICTIONS = _role("predicted masks", {K.RUN, K.MASKS, K.COMPACTED, *_MASKS}, RUN.way)
FOREIGN_MASKS = _role(
    "masks of another tool",
    {K.MASKS, K.COMPACTED, K.JSON, K.RUN, *_MASKS},
    "give a tree of PNGs, Parquet tables of masks or JSON results; see docs/import-masks.md",
)
ANNOTATIONS = _role(
    "annotations",
    {K.ANNOTATIONS, K.RUN, K.MASKS, K.COMPACTED, K.IMPORTED, *_MASKS},
    "'rvos import' writes annotations.parquet; a folder VIDEO/FRAME.png of label maps is read, too",
)
CHECKPOINT = _role(
    "a checkpoint folder",
    {K.CHECKPOINT, K.FOLDER},
    "'rvos convert FILE.pth --tokenizer roberta-base/ --out checkpoint/' makes the folder checkpoint/",
)
REFINER = _role(
    "a folder of SAM 2 or SAM 3",
    CHECKPOINT.kinds,
    "'hf download facebook/sam2.1-hiera-large --local-dir sam2.1/' makes the folder sam2.1/",
)
PUBLISHED = _role("a published checkpoint (.pth)", {K.PTH, K.FILE}, "download the file that the authors link")
BACKBONE_WEIGHTS = _role(
    "a .pth file or a folder with weights of a backbone",
    {K.PTH, K.CHECKPOINT, K.FILE, K.FOLDER},
    "give a .pth file of torchvision or of the authors of Swin, or a folder of transformers",
)
TEXT_WEIGHTS = _role(
    "a folder with weights of a text encoder",
    {K.CHECKPOINT, K.TOKENIZER, K.FOLDER},  # one with pytorch_model.bin seems to hold a tokenizer only
    "give the folder of roberta-base with config.json, model.safetensors and its tokenizer",
)
TOKENIZER = _role(
    "a tokenizer folder",
    {K.TOKENIZER, K.CHECKPOINT, K.FOLDER},
    "give a folder with tokenizer.json, or vocab.json and merges.txt, of roberta-base",
)
COMPACTED = _role(
    "a copy of a run", {K.COMPACTED, *_TABLES}, "'rvos compact runs/first --out masks/' writes one to masks/"
)
SCORES = _role(
    "a folder of scores",
    {K.SCORES, K.FOLDER},
    "'rvos evaluate runs/first data/annotations.parquet --out scores/' writes the folder scores/",
)
BOARD = _role(
    "a leaderboard",
    {K.BOARD, K.FOLDER, K.EMPTY_FOLDER},
    "'rvos leaderboard add boards/mine scores/ --name mine' makes one in boards/mine",
)
VIDEO = _role(
    "a video",
    {K.VIDEO, K.PICTURE, K.PICTURES, K.FILE, K.FOLDER},
    "give a video file, or a folder with the frames of one video",
)
MEDIA = _role("a folder of videos", _LAYOUTS, "give the folder with a file or a folder of frames for each video")
DATASET = _role("the folder of a data set", _LAYOUTS, "'rvos import --help' shows what each data set looks like")
DATASET_OR_FILE = _role("a data set", {*_LAYOUTS, K.JSON, K.TAR}, DATASET.way)
URI_LIST = _role(
    "a list of videos", _LISTS, "give a CSV, TSV, JSONL or Parquet file with the columns video_uri and expression"
)
SENTENCES = _role(
    "a file of expressions",
    _LISTS - {K.MANIFEST},
    "give a CSV, TSV, JSONL, Parquet or text file; see 'rvos import --help'",
)
RULES = _role("a file of rules", _TEXTS, "write one rule per line, such as mean_score >= 0.6")
RECIPE = _role("a recipe", _TEXTS, "give a TOML file, or the name of a recipe; see 'rvos train --help'")
SUBMISSION = _role(
    "a zip file",
    {K.ZIP, K.FILE},
    "'rvos export submission runs/first --for ref-youtube-vos --out submission.zip' writes one",
)
NEW_FOLDER = _role("a folder to write to", _OUTPUTS, "name a new folder")
NEW_SCORES = _role(
    "a folder for scores", {K.ABSENT, K.EMPTY_FOLDER, K.SCORES, K.PARQUETS, K.FOLDER}, "name a new folder"
)
NEW_RUN = _role("a run to begin or resume", {*RUN.kinds, K.EMPTY_FOLDER, K.ABSENT}, "name a new folder")
NEW_BOARD = _role("a leaderboard", {*BOARD.kinds, K.ABSENT}, "name a new folder")
NEW_ZIP = _role("a zip file to write", {*_NEW, K.ZIP}, "name a new file")
NEW_JSON = _role("a JSON file to write", {*_NEW, K.JSON}, "name a new file")
NEW_PAGE = _role("a page or table to write", {*_NEW, *_TEXTS}, "name a new file")
CHECKOUT = _role("a checkout of refervos", {K.FOLDER}, "give the folder that holds refervos.py, or none")
