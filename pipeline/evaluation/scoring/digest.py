"""Hashes of the scored masks: two evaluations have equal ones if they scored the same pairs and masks.

The digest of a pair covers its ids and, frame by frame, the size and the RLE strings that were compared. It does not
depend on names of files and frames, the order of rows, unused columns, or how rows are split over tables or PNGs.
Nothing is decoded: equal masks have equal strings if the same encoder wrote them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.evaluation.scoring.counting import PairMatch
from pipeline.evaluation.scoring.match_frames import MaskTable
from pipeline.masks.pairs_to_score import RequestedPair


def truth_digest(pair: RequestedPair, match: PairMatch, masks: MaskTable) -> bytes:
    """Return the SHA-256 of a pair, its frames, and their annotations with void pixels."""
    ids = [*pair.key, pair.annotator, bool(pair.annotation_keys)]
    digest = hashlib.sha256(json.dumps(ids).encode() + b"\n")
    first, rows, _, _ = masks.truth_arrays(match.frames)
    digest.update(np.array([frame.size for frame in match.frames], "<i8").tobytes())
    digest.update(np.diff(first).astype("<i8").tobytes())
    _add_strings(digest, rows, masks)
    _add_strings(digest, [masks.void_row(frame) for frame in match.frames], masks)
    return digest.digest()


def prediction_digest(pair: RequestedPair, matches: Sequence[PairMatch], masks: MaskTable) -> bytes:
    """Return the SHA-256 of a pair and the masks compared with it; with assignment, those of its whole group."""
    digest = hashlib.sha256(json.dumps(pair.key).encode() + b"\n")
    for match in matches:
        digest.update(np.array([len(match.frames)], "<i8").tobytes())
        rows = [frame.prediction for frame in match.frames] + [row for _, row in match.candidates]
        _add_strings(digest, rows, masks)
        digest.update(np.array([masks.score[row] or 0.0 for _, row in match.candidates], "<f8").tobytes())
    return digest.digest()


def combine(digests: Iterable[bytes]) -> str:
    """Return one hash of the digests of all pairs, independent of their order."""
    return "sha256:" + hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _add_strings(digest: "hashlib._Hash", rows: Sequence[int] | np.ndarray, masks: MaskTable) -> None:
    """Add the lengths of some strings (-1: none), then their bytes; consecutive rows are added in one piece."""
    data, starts = masks.strings()
    wanted = np.array(rows, np.int64)
    exists = wanted >= 0
    digest.update(np.where(exists, starts[wanted + 1] - starts[wanted], -1).astype("<i8").tobytes())
    wanted = wanted[exists]
    for piece in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
        if len(piece):
            digest.update(data[starts[piece[0]] : starts[piece[-1] + 1]])  # pyright: ignore[reportArgumentType]
