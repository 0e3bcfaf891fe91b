"""Label maps in the layout of DAVIS, one tree for each annotator of Ref-DAVIS17: OUT/anno_K/VIDEO/FRAME.png.

The published merge (inference_davis.py of wjn922/ReferFormer) takes the probabilities of all objects of an annotator,
sets those under 0.5 to 0, puts a background of 0.1 first, and gives each pixel to the largest; the exact rule is
`model.postprocess.merge_objects`. A run keeps binary masks, which say where a probability is above 0.5, and a score for
each frame. So pixels of no mask are background and pixels of one mask are its object, as published; only where masks
overlap does the mask's score in that frame decide instead of the pixel's probability, the first object winning ties.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.export.all_frames import IncompletePairs, Missing, with_all_frames
from pipeline.export.png import palette_png
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.by_video import PairMasks
from schemas.errors import InputError

ANNOTATORS = 4  # expressions of one object, in the published numbering
MAX_LABEL = 254  # 255 is void
WRITERS = 4


@dataclass(frozen=True, slots=True)
class LabelMaps:
    """What was written; `overlaps` counts the pixels that lay in more than one mask."""

    videos: int
    annotators: int
    pairs: int
    files: int
    filled: int
    overlaps: int


@dataclass(slots=True)
class Member:
    """One object of an annotator: its label, and its masks by frame name."""

    label: int
    pair: PairMasks
    rows: dict[str, dict]


def write_davis(videos: Iterable[list[PairMasks]], out: str, missing: Missing = "error") -> LabelMaps:
    """Write the trees below the folder `out`.

    Raises InputError, naming all that lacks, if frames have no mask (with `missing` "empty" they count as background),
    and for pairs whose annotator or object is not known or not one.
    """
    lacking = IncompletePairs()
    annotators: set[str] = set()
    counts = dict.fromkeys(("videos", "pairs", "files", "filled", "overlaps"), 0)
    for video in videos:
        pairs, filled = with_all_frames(video, missing, lacking)
        counts["videos"] += 1
        counts["pairs"] += len(pairs)
        counts["filled"] += filled
        if lacking.count:
            continue
        for annotator, members in sorted(_by_annotator(pairs).items()):
            annotators.add(annotator)
            names = f"anno_{annotator}", members[0].pair.video_id
            folder = storage.join(out, *map(storage.safe_name, names))
            for overlap in bounded_map(lambda item: _write(*item), _frames(folder, members), WRITERS):
                counts["files"] += 1
                counts["overlaps"] += overlap
    lacking.refuse()
    if not counts["files"]:
        raise InputError(f"there is no mask to write to {out}")
    return LabelMaps(annotators=len(annotators), **counts)


def merge(masks: Sequence[np.ndarray], scores: Sequence[float], labels: Sequence[int]) -> tuple[np.ndarray, int]:
    """Masks, bool [H, W] each, as one label map, uint8 [H, W], and how many pixels lie in more than one of them.

    Overlaps go to the highest score, of equal ones to the first.
    """
    ids = np.zeros(masks[0].shape, np.uint8)
    depth = np.zeros(masks[0].shape, np.uint8)
    for place in sorted(range(len(masks)), key=lambda place: (scores[place], -place)):
        ids[masks[place]] = labels[place]
        depth += masks[place]
    return ids, int(np.count_nonzero(depth > 1))


def _by_annotator(pairs: Sequence[PairMasks]) -> dict[str, list[Member]]:
    """The objects of each annotator, by label."""
    found: dict[str, dict[int, Member]] = {}
    for pair in pairs:
        annotator, label = _annotator(pair), _label(pair)
        members = found.setdefault(annotator, {})
        if label in members:
            text = f"annotator {annotator} has object {label} in expression {members[label].pair.expression_id} already"
            raise InputError(pair.message(f"{text}; a label map holds each object once"))
        members[label] = Member(label, pair, {row["frame_name"]: row for row in pair.rows()})
    return {annotator: [members[label] for label in sorted(members)] for annotator, members in found.items()}


def _annotator(pair: PairMasks) -> str:
    annotator = pair.row.get("annotator")
    return str(annotator) if annotator is not None else str(_number(pair) % ANNOTATORS)


def _label(pair: PairMasks) -> int:
    """The object's id in the label map: its own, else, as published, its place among those of the annotator."""
    objects = pair.row.get("object_ids")
    if objects is None:
        label = _number(pair) // ANNOTATORS + 1
        if label > MAX_LABEL:
            text = (
                f"by its number it is object {label}; label maps hold {MAX_LABEL}, so give object_ids in the manifest"
            )
            raise InputError(pair.message(text))
        return label
    if len(objects) != 1 or not objects[0].isdecimal() or not 1 <= int(objects[0]) <= MAX_LABEL:
        text = f"object_ids is {objects}; label maps need one number from 1 to {MAX_LABEL}"
        raise InputError(pair.message(text))
    return int(objects[0])


def _number(pair: PairMasks) -> int:
    if not (pair.expression_id.isascii() and pair.expression_id.isdigit()):
        text = "annotator or object is not known: add the columns annotator and object_ids to the manifest, or number "
        raise InputError(pair.message(f"{text}expressions as published"))
    return int(pair.expression_id)


def _frames(folder: str, members: Sequence[Member]) -> Iterator[tuple[str, str, list[Member]]]:
    names = sorted({name for member in members for name in member.rows})
    for name in names:
        yield folder, name, [member for member in members if name in member.rows]


def _write(folder: str, name: str, members: Sequence[Member]) -> int:
    rows = [member.rows[name] for member in members]
    masks = [member.pair.mask(row) for member, row in zip(members, rows, strict=True)]
    for member, mask in zip(members, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(member.pair.message("its mask has another size than those it is merged with", name))
    ids, overlap = merge(masks, [row["score"] or 0.0 for row in rows], [member.label for member in members])
    file_name = members[0].pair.file_name(f"{name}.png", name)
    storage.write_bytes(storage.join(folder, file_name), palette_png(ids))
    return overlap
