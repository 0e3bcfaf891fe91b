"""Find expressions of a video in the same words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipeline.masks.by_video import PairMasks

ARTICLES = {"a", "an", "the"}

_WORDS = re.compile(r"\w+")


def plain_words(expression: str) -> str:
    """Return the words without case, punctuation and articles, in their order, which changes the meaning."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", expression).casefold())
    return " ".join(word for word in words if word not in ARTICLES)


def count_repeats(video: Sequence[PairMasks]) -> list[float | None]:
    """For each pair of a video, count the earlier ones with the same plain words; None for a pair without words."""
    seen: Counter[str] = Counter()
    counts: list[float | None] = []
    for pair in video:
        words = plain_words(pair.row.get("expression") or "")
        counts.append(float(seen[words]) if words else None)
        seen[words] += 1
    return counts
