"""What reading a data set gives, whatever its form: one `DatasetVideo` at a time."""

from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.io import storage
from pipeline.video import folder
from schemas.errors import InputError, MediaError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, VOID

VIDEOS_AT_ONCE = 8
ATTRIBUTES_WITH_A_COLUMN = ("annotator", "split")

# What to know about a data set; the places that it concerns are counted. After the semicolon: what to do, or expect.
NO_FRAMES = "videos without their frames; bring them there before 'rvos segment'"
NO_TEXT = "empty expressions; their pairs will fail"
NO_EXPRESSIONS = "videos without expressions; they are not in the manifest"
NO_MASK_OF_OBJECT = "expressions of an object that is in no mask; they will score as absent throughout"


@dataclass(slots=True)
class DatasetVideo:
    """One video of a data set.

    `pairs` are MANIFEST rows with absolute URIs, undeclared keys being attributes. `problems` forbid the import;
    `warnings` (what, where) do not. `foreground` is all that any object covers, for the R of ReVOS.
    """

    video_id: str
    pairs: list[dict] = field(default_factory=list)
    annotations: pa.Table = field(default_factory=ANNOTATIONS.empty_table)
    void: pa.Table = field(default_factory=VOID.empty_table)
    foreground: pa.Table = field(default_factory=VOID.empty_table)
    problems: list[str] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    def check_texts(self) -> None:
        """Warn of empty expressions, and if there are none at all."""
        self.warnings += [(NO_TEXT, pair_name(pair)) for pair in self.pairs if not pair["expression"].strip()]
        if not self.pairs:
            self.warnings.append((NO_EXPRESSIONS, self.video_id))

    def check_objects(self, in_masks: set[str]) -> None:
        """Warn of pairs that mean objects which are in no mask; `in_masks` are those that are."""
        for pair in self.pairs:
            if unknown := set(pair["object_ids"] or ()) - in_masks:
                self.warnings.append((NO_MASK_OF_OBJECT, f"{pair_name(pair)} object {min(unknown)}"))


@dataclass(frozen=True, slots=True)
class Published:
    """How much a split holds by its authors' word (None: they do not say), to see whether a download is complete."""

    split: str
    videos: int | None
    expressions: int | None
    source: str

    def __str__(self) -> str:
        counts = [
            f"{count} {what}"
            for count, what in ((self.expressions, "expressions"), (self.videos, "videos"))
            if count is not None
        ]
        return f"{self.split}: {' in '.join(counts)} ({self.source})"


def flat_id(path: str) -> str:
    """An id for what lies at a relative path: its parts joined by `__`. Raises InputError if it leaves its folder."""
    for part in path.split("/"):
        storage.safe_name(part)
    return storage.safe_name(path.replace("/", "__"))


def id_problem(value: str, *, nested: bool = False) -> str | None:
    """Why `value` can be no id, in words; with `nested` it may be a path of several parts."""
    try:
        flat_id(value) if nested else storage.safe_name(value)
    except InputError as error:
        return str(error)
    return None


def frame_names(uri: str, found: DatasetVideo) -> list[str]:
    """Names in the folder of frames, in order; empty, with a warning, if it is not there."""
    try:
        return list(folder.list_frames(uri))
    except (FileNotFoundError, NotADirectoryError):
        found.warnings.append((NO_FRAMES, uri))
    except MediaError as error:
        if error.status == "missing":
            found.warnings.append((NO_FRAMES, uri))
        else:
            found.problems.append(str(error))
    return []


def frame_size(uri: str, found: DatasetVideo) -> tuple[int, int] | None:
    """Height and width of the frames in a folder; None, with a problem, if the first one is broken."""
    try:
        header = folder.probe(uri)
    except MediaError as error:
        found.problems.append(str(error))
        return None
    return header.height, header.width


def attributes(entry: dict, known: tuple[str, ...] = ()) -> dict:
    """Further keys of an entry with plain values, but those whose name a manifest column has."""
    taken = set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) | set(known)
    plain = {name: value for name, value in entry.items() if isinstance(value, str | int | float | bool)}
    return {name: value for name, value in plain.items() if name not in taken}


def pair_name(pair: dict) -> str:
    """A pair in words."""
    return f"{pair['video_id']} expression {pair['expression_id']}"
