"""JHMDB-Sentences: short clips of one action each, a sentence for the person in it, and puppet masks.

    ROOT/Rename_Images/ACTION/VIDEO/NNNNN.png        frames, counted from 1
    ROOT/puppet_mask/ACTION/VIDEO/puppet_mask.mat    `part_mask` [H, W, T], of the first T frames
    ROOT/jhmdb_annotation.txt                        CSV with header: video, sentence
    ROOT/jhmdb_sentences_samples_metadata.json       [[video, frame, masks, number of frames, sentence], ...]

The last file, as published loaders ship it, names the three frames of each clip that are scored: the `target_frames`.
Without it every frame with a mask is scored. The action is an attribute.
"""

import csv
import io
import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import scipy.io

from pipeline.datasets.common.dataset_video import (
    VIDEOS_AT_ONCE,
    DatasetVideo,
    Published,
    flat_id,
    frame_names,
    frame_size,
)
from pipeline.datasets.common.target_frames import around_targets
from pipeline.datasets.common.tracks import Tracks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video.types import MAX_PIXELS
from schemas import rle
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

SAMPLES = "jhmdb_sentences_samples_metadata.json"
MAX_TEXT_BYTES = 2**26
MAX_MASK_BYTES = 2**26
MAX_VOXELS = 2**30  # pixels of all masks of a clip
OBJECT = "1"

PUBLISHED = (Published("all", 928, 928, "jhmdb_annotation.txt, by the loader of MTTR"),)

NO_MASKS = "videos without puppet_mask.mat; there is no truth to score them by"


def read(root: str, *, context: int | None = None) -> Iterator[DatasetVideo]:
    """All videos, sorted by id. With `context`: see `around_targets`.

    Raises InputError that names file and row.
    """
    root = storage.absolute(root)
    samples, lengths = _samples(storage.join(root, SAMPLES))
    actions = _actions(storage.join(root, "Rename_Images"))
    sentences = _sentences(storage.join(root, "jhmdb_annotation.txt"), samples, actions)
    items = sorted(sentences.items(), key=lambda item: flat_id(item[0]))
    return bounded_map(partial(_import_video, root, actions, samples, lengths, context), items, VIDEOS_AT_ONCE)


def _samples(uri: str) -> tuple[dict[str, list[tuple[str, str]]], dict[str, int]]:
    """For each video its scored frames, each with its sentence, and how many frames have masks; empty if there is no
    such file."""
    try:
        rows = json.loads(storage.read_bytes(uri, limit=MAX_TEXT_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri} is not sound JSON: {error}") from None
    lengths: dict[str, int] = {}
    samples: dict[str, list[tuple[str, str]]] = {}
    problems = []
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        texts = isinstance(row, list) and len(row) == 5 and all(isinstance(row[i], str) for i in (0, 1, 4))
        if not texts or type(row[3]) is not int or row[3] < 1:
            problems.append(Problem(uri, number, "is not [video, frame, masks, number of frames, sentence]"))
            continue
        samples.setdefault(row[0], []).append((row[1].rpartition("/")[2].rpartition(".")[0], row[4]))
        lengths[row[0]] = row[3]
    if problems:
        raise SchemaError(problems)
    return samples, lengths


def _sentences(uri: str, samples: dict[str, list[tuple[str, str]]], actions: dict[str, str]) -> dict[str, list[str]]:
    """For each video its sentences, of the text file, or else of the samples.

    The first line of the file is its header, unless it begins with a video that is there.
    """
    sentences: dict[str, list[str]] = {}
    problems = []
    try:
        content = storage.read_bytes(uri, limit=MAX_TEXT_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if not samples:
            raise InputError(f"no sentences: neither {uri} nor {SAMPLES} beside it is there") from None
        rows = [[video, text] for video, of in samples.items() for text in dict.fromkeys(text for _, text in of)]
    except UnicodeDecodeError as error:
        raise InputError(f"{uri} is no CSV in UTF-8: {error}") from None
    else:
        try:
            rows = [row for row in csv.reader(io.StringIO(content)) if row]
        except csv.Error as error:
            raise InputError(f"{uri} is no CSV: {error}") from None
        rows = rows if rows and rows[0][0] in actions else rows[1:]
    for number, row in enumerate(rows):
        try:
            video, text = row
            flat_id(video)
        except (ValueError, InputError) as error:
            problems.append(Problem(uri, number, f"{row} is no row of a video and a sentence ({error})"))
            continue
        sentences.setdefault(video, []).append(text)
    if problems:
        raise SchemaError(problems)
    return sentences


def _actions(uri: str) -> dict[str, str]:
    """The action that each video lies under."""
    if not storage.is_folder(uri):
        return {}
    return {video: action for action in storage.names(uri) for video in _names(storage.join(uri, action))}


def _names(uri: str) -> list[str]:
    try:
        return storage.names(uri)
    except NotADirectoryError:
        return []


def _import_video(
    root: str,
    actions: dict[str, str],
    samples: dict[str, list[tuple[str, str]]],
    lengths: dict[str, int],
    context: int | None,
    item: tuple[str, list[str]],
) -> DatasetVideo:
    name, sentences = item
    found = DatasetVideo(flat_id(name))
    action = actions.get(name, "")
    uri = storage.join(root, "Rename_Images", *([action] if action else []), name)
    names = frame_names(uri, found)
    targets = sorted({frame for frame, _ in samples.get(name, [])})
    if unknown := sorted(set(targets) - set(names)) if names else []:
        found.problems.append(f"{SAMPLES} names frame {unknown[0]} of {name}, which is not in {uri}")
    pairs = [
        {
            "video_id": found.video_id,
            "video_uri": uri,
            "expression_id": str(number),
            "expression": text,
            "target_frames": targets or None,
            "num_frames": len(names) or None,
            "object_ids": [OBJECT],
            **({"action": action} if action else {}),
        }
        for number, text in enumerate(sentences)
    ]
    found.pairs = pairs
    if context and names and not found.problems:
        found.pairs = around_targets(pairs, context, names.index, found, lengths.get(name))
    found.check_texts()
    _add_masks(storage.join(root, "puppet_mask", action or "-", name, "puppet_mask.mat"), uri, names, found)
    return found


def _add_masks(uri: str, frames: str, names: list[str], found: DatasetVideo) -> None:
    if not storage.exists(uri):
        found.warnings.append((NO_MASKS, uri))
        return
    try:
        masks = _part_mask(uri)
    except Exception as error:  # storage, or damaged data, which makes SciPy raise many kinds
        found.problems.append(f"{uri}: the masks cannot be read ({error}); replace it")
        return
    sequence = names or [f"{number:05d}" for number in range(1, masks.shape[2] + 1)]
    tracks = Tracks(found, sequence, frames=frame_size(frames, found) if names else None)
    for name, mask in zip(sequence, np.moveaxis(masks, 2, 0), strict=False):  # of the last frames there may be none
        tracks.add(OBJECT, name, rle.encode(mask[None] != 0)[0] if mask.any() else None, mask.shape)
    found.annotations = tracks.annotations()


def _part_mask(uri: str) -> np.ndarray:
    """`part_mask` [H, W, T] of a MATLAB file, its size checked before it is read."""
    content = storage.read_bytes(uri, limit=MAX_MASK_BYTES)
    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(content))}
    except NotImplementedError:
        raise ValueError("it is of MATLAB 7.3, which is HDF5; save it again with '-v7'") from None
    shape = shapes.get("part_mask")
    if shape is None:
        raise ValueError(f"there is no part_mask, but {', '.join(shapes) or 'nothing'}")
    shape = (*shape, 1) if len(shape) == 2 else shape  # MATLAB drops a last dimension of one
    if len(shape) != 3 or shape[0] * shape[1] > MAX_PIXELS or np.prod(shape, dtype=object) > MAX_VOXELS:
        raise ValueError(f"part_mask of shape {shape} is no sequence of masks")
    return scipy.io.loadmat(io.BytesIO(content), variable_names=["part_mask"])["part_mask"].reshape(shape)
