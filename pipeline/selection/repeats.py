"""What a corpus has already: expressions of a video in the same words, and videos that look the same."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from pipeline.masks.by_video import PairMasks
from pipeline.video import Selection, read_frames
from schemas.errors import MediaError

ARTICLES = {"a", "an", "the"}
FRAMES = 8  # of a video, evenly spaced from the first frame with masks to the last
GRID = 8  # rows of a frame's 64 bits, and bits of each
SAME = 0.12  # share of bits that may differ between videos that look the same

_WORDS = re.compile(r"\w+")


def plain_words(expression: str) -> str:
    """The words without case, punctuation and articles, in their order: it tells who is left of whom."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", expression).casefold())
    return " ".join(word for word in words if word not in ARTICLES)


def repeats(video: Sequence[PairMasks]) -> list[float | None]:
    """For each pair of a video, how many earlier ones have the same plain words; None where there are none."""
    seen: Counter[str] = Counter()
    found: list[float | None] = []
    for pair in video:
        words = plain_words(pair.row.get("expression") or "")
        found.append(float(seen[words]) if words else None)
        seen[words] += 1
    return found


class SeenVideos:
    """Fingerprints of the videos so far, 64 bytes each; a new one is held against all of them."""

    def __init__(self) -> None:
        self._prints = np.empty((1024, FRAMES), np.uint64)
        self._count = 0

    def repeats(self, look: np.ndarray) -> float:
        """How many earlier videos look like the one of this `fingerprint`, which is remembered."""
        differing = np.bitwise_count(self._prints[: self._count] ^ look).sum(1, dtype=np.int64)
        if self._count == len(self._prints):
            self._prints = np.concatenate((self._prints, np.empty_like(self._prints)))
        self._prints[self._count] = look
        self._count += 1
        return float(np.count_nonzero(differing <= SAME * FRAMES * GRID * GRID))


def fingerprint(video: Sequence[PairMasks]) -> np.ndarray | None:
    """uint64 [FRAMES], for each frame whether brightness rises from cell to cell (difference hash).

    It stays nearly the same when a video is scaled, compressed again or made brighter, but not when it is cut, cropped
    or mirrored. The video is opened once and its frames pass one by one. None if it has no masks or cannot be read.
    """
    ends = [pc.min_max(pair.frames["frame_index"]).as_py() for pair in video if pair.frames.num_rows]
    if not ends:
        return None
    first, last = min(end["min"] for end in ends), max(end["max"] for end in ends)
    indices = np.linspace(first, last, FRAMES).round().astype(int).tolist()
    try:
        frames = read_frames(video[0].row["video_uri"], Selection(indices=tuple(indices)))
        bits = {frame.index: _difference_hash(frame.image) for frame in frames}
    except MediaError:
        return None
    return np.array([bits[index] for index in indices])


def _difference_hash(image: np.ndarray) -> np.uint64:
    small = Image.fromarray(image).convert("L").resize((GRID + 1, GRID), Image.Resampling.BOX)
    rises = np.diff(np.asarray(small).astype(np.int16), axis=1) > 0
    return np.packbits(rises).view(np.uint64)[0]
