"""`DatasetVideo`, one video with its pairs and masks: every data set reader yields these, one at a time."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.io import storage
from pipeline.masks.png_trees import masks_by_name
from pipeline.masks.run_order import RunOrder
from pipeline.video import folder
from schemas.errors import InputError, MediaError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, VOID

VIDEOS_AT_ONCE = 8
MAX_ID_BYTES = 240  # of an id that is made of a path, so that exports may append a suffix
MISSING_VALUES = {
    "nan", "none", "null", "<na>", "n/a", "#n/a", "#name?", "#ref!", "#value!", "#num!", "#div/0!", "#null!",
}  # fmt: skip
ATTRIBUTES_WITH_A_COLUMN = ("annotator", "split")

# Warnings; the import counts their places. After the semicolon: the consequence, or the way out.
NO_FRAMES = "videos without frames; copy their images or clips to the data set before 'rvos segment'"
SOME_FRAMES = "videos with images for only some of the frames in the JSON file; their pairs will fail"
NO_TEXT = "empty expressions; their pairs will fail"
MISSING_VALUE = "expressions that are the text of a missing value, such as nan or #NAME?; correct or remove their rows"
NO_EXPRESSIONS = "videos without expressions; they are not in the manifest"
NO_MASK_OF_OBJECT = "expressions about an object without any mask; they are scored as absent throughout"

NO_MASK_OF_FRAME = "videos with frames that should have a mask and have none; these frames are not annotated"
NO_MASKS = "videos without masks, in a data set with a folder of masks; they are not annotated"


@dataclass(slots=True)
class DatasetVideo:
    """One video of a data set.

    `pairs` are MANIFEST rows with absolute URIs; undeclared keys are attributes. `problems` make the import fail,
    `warnings` (text, place) and `skipped` (reason, place), which the import counts, do not. `foreground` holds the
    union of all objects, which the measure R of ReVOS needs.
    """

    video_id: str
    pairs: list[dict] = field(default_factory=list)
    annotations: pa.Table = field(default_factory=ANNOTATIONS.empty_table)
    void: pa.Table = field(default_factory=VOID.empty_table)
    foreground: pa.Table = field(default_factory=VOID.empty_table)
    problems: list[str] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    run_order: RunOrder = field(default_factory=RunOrder)  # of the masks that the data set stores as RLE

    def check_texts(self) -> None:
        """Warn about empty expressions, and if the video has no expression."""
        self.warnings += [(NO_TEXT, pair_name(pair)) for pair in self.pairs if not pair["expression"].strip()]
        found = [pair for pair in self.pairs if pair["expression"].strip().lower() in MISSING_VALUES]
        self.warnings += [(MISSING_VALUE, pair_name(pair)) for pair in found]
        if not self.pairs:
            self.warnings.append((NO_EXPRESSIONS, self.video_id))

    def check_objects(self, with_masks: set[str]) -> None:
        """Warn about pairs whose objects are not all in `with_masks`."""
        for pair in self.pairs:
            if unknown := set(pair["object_ids"] or ()) - with_masks:
                self.warnings.append((NO_MASK_OF_OBJECT, f"{pair_name(pair)} object {min(unknown)}"))

    def object_ids(self) -> set[str]:
        """The objects that the pairs mean."""
        return {object_id for pair in self.pairs for object_id in pair["object_ids"] or ()}

    def mask_files(self, uri: str) -> dict[str, str]:
        """URIs of the PNG masks in the folder `uri`, by frame name; a problem if there are masks of another form."""
        try:
            return masks_by_name(uri)
        except InputError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return {}

    def note_gaps(self, names: Sequence[str], masks: Collection[str], promised: Collection[str] = ()) -> None:
        """Warn about frames without a mask, if another file promises one, or if most frames of the video have one.

        names: of the frames that exist. masks: names of those with a mask.
        """
        expected = set(names) if 2 * len(set(names) & set(masks)) > len(names) else set(promised)
        if absent := [name for name in names if name in expected and name not in masks]:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            self.warnings.append((NO_MASK_OF_FRAME, f"{self.video_id} {absent[0]}{more}"))

    def list_frames(self, uri: str) -> list[str]:
        """Names of the frames in the folder `uri`, in order; empty, with a warning, if there are none."""
        try:
            return list(folder.list_frames(uri))
        except (FileNotFoundError, NotADirectoryError):
            self.warnings.append((NO_FRAMES, uri))
        except MediaError as error:
            if error.status == "missing":
                self.warnings.append((NO_FRAMES, uri))
            else:
                self.problems.append(str(error))
        return []

    def frame_size(self, uri: str) -> tuple[int, int] | None:
        """Height and width of the frames in the folder `uri`; None, with a problem, if the first one is damaged."""
        try:
            images = {name: storage.join(uri, file) for name, file in folder.list_frames(uri).items()}
            header = folder.probe(uri, images)  # a remote folder may be named like a video file
        except MediaError as error:
            self.problems.append(str(error))
            return None
        return header.height, header.width

    def check_listed(self, listed: list[str], names: list[str]) -> None:
        """Warn if frames that a JSON file lists are missing among the images `names`; the order must be the same."""
        known, wanted = set(names), set(listed)
        present, in_folder = [name for name in listed if name in known], [name for name in names if name in wanted]
        if present != in_folder:
            first, other = next(pair for pair in zip(present, in_folder, strict=True) if pair[0] != pair[1])
            reason = f"lists frame {first} where the folder has {other}; rename the files so that both have one order"
            self.problems.append(f"the file {reason}")
        if absent := [frame for frame in listed if names and frame not in known]:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            self.warnings.append((SOME_FRAMES, f"{self.video_id} {absent[0]}{more}"))


def flat_id(path: str) -> str:
    """Turn a relative path into an id, with `__` for `/`. Raises InputError if the path leaves its folder."""
    for part in path.split("/"):
        storage.safe_name(part)
    return storage.safe_name(path.replace("/", "__"))


def nfc(name: str) -> str:
    """Return a name in the Unicode form NFC. macOS stores names in NFD, which look the same and differ."""
    return unicodedata.normalize("NFC", name)


def shorten_id(value: str) -> str:
    """Return an id of at most MAX_ID_BYTES; a longer one ends in a digest, so that it stays unique."""
    content = value.encode(errors="surrogatepass")
    if len(content) <= MAX_ID_BYTES:
        return value
    digest = hashlib.sha256(content).hexdigest()[:8]
    return content[: MAX_ID_BYTES - 9].decode(errors="ignore") + f"-{digest}"


def id_problem(value: str, *, nested: bool = False) -> str | None:
    """Explain why `value` cannot be an id, or return None; with `nested` it may be a path of several parts."""
    try:
        flat_id(value) if nested else storage.safe_name(value)
    except InputError as error:
        return str(error)
    return None


def plain_attributes(entry: dict, known: tuple[str, ...] = ()) -> dict:
    """Keys of an entry with plain values, without `known` ones and without the names of manifest columns."""
    taken = set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) | set(known)
    return {
        name: value
        for name, value in entry.items()
        if name not in taken and isinstance(value, str | int | float | bool)
    }


def pair_name(pair: dict) -> str:
    """A pair as messages show it."""
    return f"{pair['video_id']} expression {pair['expression_id']}"


def once(problems: Iterable[str]) -> list[str]:
    """Return the first of all problems that differ in numbers only, such as those of frames, with the others' count."""
    alike: dict[str, list[str]] = {}
    for problem in problems:
        alike.setdefault(re.sub(r"[0-9]+", "#", problem), []).append(problem)
    return [f"{same[0]} (and {len(same) - 1} more like it)" if len(same) > 1 else same[0] for same in alike.values()]
