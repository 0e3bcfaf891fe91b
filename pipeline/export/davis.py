"""Label maps in the layout of DAVIS, one tree for each annotator of Ref-DAVIS17: OUT/anno_K/VIDEO/FRAME.png.

The published merge (inference_davis.py of wjn922/ReferFormer) takes the probabilities of all objects of an annotator,
sets those under 0.5 to 0, adds a background of 0.1, and gives each pixel to the largest; the exact rule is
`merge_objects` of `model.referformer.inference.postprocess`. A run keeps binary masks, true where a probability is
above 0.5, and a score for each frame. So pixels of no mask are background and pixels of one mask are its object, as
published. Only where masks overlap, the score of the frame decides in place of the probability of the pixel; the first
object wins ties.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.export.all_frames import MissingExportMasks, complete_videos, frame_step_notes
from pipeline.export.exported import Exported
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.masks.label_numbers import are_labels
from pipeline.masks.write_png import palette_png
from schemas.errors import InputError
from schemas.printable import counted

ANNOTATORS = 4  # expressions of one object, in the published numbering
MAX_LABEL = 254  # 255 is void
WRITERS = 4


class LabelledPair(NamedTuple):
    """One object of an annotator: its label, and its masks by frame name."""

    label: int
    pair: PairMasks
    rows: dict[str, dict]


def write_davis(source: MaskSource, out: str, *, missing: MissingExportMasks = "error") -> Exported:
    """Write the trees into the folder `out`.

    Raises InputError that names all incomplete pairs if frames have no mask (with `missing` "empty" they count as
    background), and for pairs without exactly one known annotator and object.
    """
    annotators: set[str] = set()
    counts: dict[str, int] = dict.fromkeys(("videos", "annotators", "pairs", "files", "filled", "overlaps"), 0)
    for pairs in complete_videos(source, out, missing, counts):
        for annotator, labelled in sorted(_by_annotator(pairs).items()):
            annotators.add(annotator)
            folders = f"anno_{annotator}", labelled[0].pair.video_id
            folder = storage.join(out, *map(storage.safe_name, folders))
            names = sorted({name for one in labelled for name in one.rows})
            overlaps = bounded_map(lambda name, to=folder, of=labelled: _write_frame(to, name, of), names, WRITERS)
            counts["overlaps"] += sum(overlaps)
            counts["files"] += len(names)
    counts["annotators"] = len(annotators)
    notes = [f"{counted(counts['filled'], 'frame')} without a mask, taken as empty"] if counts["filled"] else []
    if counts["overlaps"]:
        text = "pixels are in several masks; each was given to the mask with the highest frame score"
        notes.append(f"{counts['overlaps']} {text}")
    return Exported(counts, [*notes, *frame_step_notes(source)])


def merge_masks(masks: Sequence[np.ndarray], scores: Sequence[float], labels: Sequence[int]) -> tuple[np.ndarray, int]:
    """Merge masks, bool [H, W] each, to a label map, uint8 [H, W], and count the pixels that are in several of them.

    Overlaps get the label of the highest score, of equal scores the first.
    """
    ids = np.zeros(masks[0].shape, np.uint8)
    depth = np.zeros(masks[0].shape, np.uint8)
    for position in sorted(range(len(masks)), key=lambda position: (scores[position], -position)):
        ids[masks[position]] = labels[position]
        depth += masks[position]
    return ids, int(np.count_nonzero(depth > 1))


def _by_annotator(pairs: Sequence[PairMasks]) -> dict[str, list[LabelledPair]]:
    """Group the pairs of a video by annotator, sorted by label."""
    found: dict[str, dict[int, LabelledPair]] = defaultdict(dict)
    for pair in pairs:
        annotator, label = pair.row.get("annotator"), _label(pair)
        labels = found[str(annotator) if annotator is not None else str(_published_number(pair) % ANNOTATORS)]
        if label in labels:
            text = f"its object {label} is already that of expression {labels[label].pair.expression_id}"
            raise InputError(pair.message(f"{text} of the same annotator; a label map holds each object once"))
        labels[label] = LabelledPair(label, pair, {row["frame_name"]: row for row in pair.rows()})
    return {annotator: [labels[label] for label in sorted(labels)] for annotator, labels in found.items()}


def _label(pair: PairMasks) -> int:
    """Return the id of the object, or as published its position among the objects of the annotator."""
    objects = pair.row.get("object_ids")
    if objects is None:
        label = _published_number(pair) // ANNOTATORS + 1
        if label > MAX_LABEL:
            text = f"its number makes it object {label}, and label maps hold {MAX_LABEL}"
            raise InputError(pair.message(f"{text}; add object_ids to the manifest"))
        return label
    if len(objects) != 1 or not are_labels(objects) or not 1 <= int(objects[0]) <= MAX_LABEL:
        text = f"object_ids is {objects}; label maps need one number from 1 to {MAX_LABEL}"
        raise InputError(pair.message(text))
    return int(objects[0])


def _published_number(pair: PairMasks) -> int:
    if not re.fullmatch("[0-9]{1,9}", pair.expression_id):
        text = "its annotator or object is unknown; add the columns annotator and object_ids to the manifest, or number"
        raise InputError(pair.message(f"{text} expressions as published"))
    return int(pair.expression_id)


def _write_frame(folder: str, name: str, labelled: Sequence[LabelledPair]) -> int:
    """Merge and write the masks of one frame; return the number of pixels that are in several."""
    shown = [(one, one.rows[name]) for one in labelled if name in one.rows]
    masks = [one.pair.mask(row) for one, row in shown]
    for (one, _), mask in zip(shown, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(one.pair.message("its mask differs in size from those of the other objects", name))
    ids, overlap = merge_masks(masks, [row["score"] or 0.0 for _, row in shown], [one.label for one, _ in shown])
    file_name = shown[0][0].pair.file_name(f"{name}.png", name)
    storage.write_bytes(storage.join(folder, file_name), palette_png(ids))
    return overlap
