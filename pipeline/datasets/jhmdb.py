"""JHMDB-Sentences: short clips of one action each, a sentence for the person in it, and puppet masks.

    ROOT/Rename_Images/ACTION/VIDEO/NNNNN.png        frames, counted from 1
    ROOT/puppet_mask/ACTION/VIDEO/puppet_mask.mat    `part_mask` [H, W, T], of the first T frames
    ROOT/jhmdb_annotation.txt                        CSV with header: video, sentence
    ROOT/jhmdb_sentences_samples_metadata.json       [[video, frame, masks, number of frames, sentence], ...]

The last file, as published loaders ship it, names the three frames of each clip that are scored: the `target_frames`.
Without it every frame with a mask is scored. The action is an attribute.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.datasets.common import json_file, matlab_masks
from pipeline.datasets.common.csv_file import group_by_video, read_rows
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, flat_id
from pipeline.datasets.common.object_masks import ObjectMasks
from pipeline.datasets.common.target_frames import split_by_target
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

SAMPLES = "jhmdb_sentences_samples_metadata.json"
MAX_MASK_BYTES = 2**26
OBJECT = "1"

NO_MASKS = "videos without puppet_mask.mat; they cannot be scored"


def read(root: str, *, context: int | None = None) -> Iterator[DatasetVideo]:
    """Read all videos, sorted by id; for `context` see `split_by_target`.

    Raises InputError with file and row, and if `context` is given without SAMPLES.
    """
    root = storage.absolute(root)
    samples, lengths = _read_samples(storage.join(root, SAMPLES))
    if context and not samples:
        uri = storage.join(root, SAMPLES)
        raise InputError(f"{uri} does not exist or is empty; samples of {context} frames need it, see docs/datasets.md")
    actions = _list_actions(storage.join(root, "Rename_Images"))
    sentences = _read_sentences(storage.join(root, "jhmdb_annotation.txt"), samples, actions)

    def read_video(item: tuple[str, list[list[str]]]) -> DatasetVideo:
        name, rows = item
        video = DatasetVideo(flat_id(name))
        action = actions.get(name, "")
        uri = storage.join(root, "Rename_Images", *([action] if action else []), name)
        frames = video.list_frames(uri)
        targets = sorted({frame for frame, _ in samples.get(name, [])})
        if unknown := sorted(set(targets) - set(frames)) if frames else []:
            video.problems.append(f"{SAMPLES} names frame {unknown[0]} of {name}, which is missing in {uri}")
        video.pairs = [
            {
                "video_id": video.video_id,
                "video_uri": uri,
                "expression_id": str(number),
                "expression": text,
                "target_frames": targets or None,
                "num_frames": len(frames) or None,
                "object_ids": [OBJECT],
                **({"action": action} if action else {}),
            }
            for number, (text,) in enumerate(rows)
        ]
        if context and frames and not video.problems:
            split_by_target(video, context, frames.index, lengths.get(name))
        video.check_texts()
        _add_masks(storage.join(root, "puppet_mask", action or "-", name, "puppet_mask.mat"), uri, frames, video)
        return video

    items = sorted(sentences.items(), key=lambda item: flat_id(item[0]))
    return bounded_map(read_video, items, VIDEOS_AT_ONCE)


def _read_samples(uri: str) -> tuple[dict[str, list[tuple[str, str]]], dict[str, int]]:
    """Return by video the scored frames with their sentences, and the number of masks; empty without the file."""
    if not storage.exists(uri):
        return {}, {}
    lengths: dict[str, int] = {}
    samples: dict[str, list[tuple[str, str]]] = {}
    problems = []
    for number, (_, row) in enumerate(json_file.entries(uri)):
        texts = isinstance(row, list) and len(row) == 5 and all(isinstance(row[i], str) for i in (0, 1, 4))
        if not texts or type(row[3]) is not int or row[3] < 1:
            problems.append(Problem(uri, f"[{number}]", "must be [video, frame, masks, number of frames, sentence]"))
            continue
        samples.setdefault(row[0], []).append((row[1].rpartition("/")[2].rpartition(".")[0], row[4]))
        lengths[row[0]] = row[3]
    if problems:
        raise SchemaError(problems)
    return samples, lengths


def _list_actions(uri: str) -> dict[str, str]:
    """Return the action of each video, the folder that contains it."""
    actions = {}
    for action in storage.names(uri) if storage.is_folder(uri) else []:
        folder = storage.join(uri, action)
        actions |= dict.fromkeys(storage.names(folder) if storage.is_folder(folder) else [], action)
    return actions


def _read_sentences(
    uri: str, samples: dict[str, list[tuple[str, str]]], actions: dict[str, str]
) -> dict[str, list[list[str]]]:
    """Read the sentences by video from the text file or, without it, from the samples.

    The first line of the file is a header, unless it begins with the name of a video.
    """
    try:
        rows = read_rows(uri)
    except FileNotFoundError:
        if not samples:
            raise InputError(f"no sentences: neither {uri} nor {SAMPLES} next to it exists") from None
        rows = [[video, text] for video, of in samples.items() for text in dict.fromkeys(text for _, text in of)]
    else:
        rows = rows if rows and rows[0][0] in actions else rows[1:]
    return group_by_video(uri, rows, ("video", "sentence"))


def _add_masks(uri: str, frames: str, names: list[str], video: DatasetVideo) -> None:
    if not storage.exists(uri):
        video.warnings.append((NO_MASKS, uri))
        return
    try:
        part_mask = matlab_masks.read(storage.read_bytes(uri, limit=MAX_MASK_BYTES), "part_mask")
    except Exception as error:  # storage, or damaged data, for which SciPy raises many kinds
        video.problems.append(f"{uri}: the masks cannot be read ({error}); replace the file")
        return
    sequence = names or [f"{number:05d}" for number in range(1, part_mask.shape[2] + 1)]
    masks = ObjectMasks(video, sequence, frame_size=video.frame_size(frames) if names else None)
    for name, mask in zip(sequence, np.moveaxis(part_mask, 2, 0), strict=False):  # the last frames may have none
        masks.add_array(OBJECT, name, mask != 0)
    video.annotations = masks.annotations()
