"""What was scored against what, as hashes: those of two evaluations are equal if they mean the same pairs and masks.

A digest of a pair covers its ids and, frame by frame in order, the frame's size and the RLE strings that were compared.
Names of files and of frames, the order of rows, columns that no score needs, and how rows are spread over tables or
PNGs do not count. Nothing is decoded: masks are the same here if their strings are, as those of one encoder are.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.evaluation.scoring.match_frames import MaskTable
from pipeline.evaluation.scoring.pixel_counts import PairMatch, buffers
from pipeline.masks.requested import RequestedPair


def truth_digest(pair: RequestedPair, work: PairMatch, masks: MaskTable) -> bytes:
    """SHA-256 of a pair, its frames, and what is annotated in them (void pixels too)."""
    frames = work.frames
    truth = [[row for row in frame.truth if masks.present[row]] for frame in frames]
    void = [frame.void if frame.void >= 0 and masks.present[frame.void] else -1 for frame in frames]
    digest = _start([*pair.key, pair.annotator, bool(pair.annotation_keys)])
    digest.update(_integers(frame.size for frame in frames))
    digest.update(_integers(len(rows) for rows in truth))
    _add_strings(digest, [row for rows in truth for row in rows], masks)
    _add_strings(digest, void, masks)
    return digest.digest()


def prediction_digest(pair: RequestedPair, works: Sequence[PairMatch], masks: MaskTable) -> bytes:
    """SHA-256 of a pair and of the masks that it was held against (with assignment: those of its whole group)."""
    digest = _start(list(pair.key))
    for work in works:
        rows = [frame.prediction for frame in work.frames] + [row for _, row in work.candidates]
        digest.update(_integers([len(work.frames)]))
        _add_strings(digest, rows, masks)
        scores = [masks.score[row] or 0.0 for _, row in work.candidates]
        digest.update(np.array(scores, "<f8").tobytes())
    return digest.digest()


def combine(digests: Iterable[bytes]) -> str:
    """One hash of the digests of all pairs, in whatever order they come."""
    return "sha256:" + hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _start(ids: list) -> "hashlib._Hash":
    return hashlib.sha256(json.dumps(ids).encode() + b"\n")


def _integers(values: Iterable) -> bytes:
    return np.array(list(values), "<i8").tobytes()


def _add_strings(digest: "hashlib._Hash", rows: Sequence[int], masks: MaskTable) -> None:
    """The lengths of some strings (-1: none), then their bytes; rows that follow each other are read in one piece."""
    data, starts = buffers(masks.counts)
    wanted = np.array(rows, np.int64)
    there = wanted >= 0
    digest.update(np.where(there, starts[wanted + 1] - starts[wanted], -1).astype("<i8").tobytes())
    wanted = wanted[there]
    for piece in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
        if len(piece):
            digest.update(data[starts[piece[0]] : starts[piece[-1] + 1]])  # pyright: ignore[reportArgumentType]
