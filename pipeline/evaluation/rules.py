"""Published rules of inference: what `rvos segment --rules NAME` sets for the benchmark of a protocol.

This module is data that `cli.py` imports, so it imports nothing heavy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Candidates = Literal["best", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How the authors' scripts segment a benchmark. The first four are options of `rvos segment` too."""

    source: str
    window: str  # frames of one model call, or "whole"
    short_side: int | None = 360  # None: that of the checkpoint
    max_size: int | None = None
    candidates: Candidates = "best"
    context: bool = False  # one target frame in each pair, in the middle of `window` frames
    pad_to: int = 1  # sides of the padded model input are multiples of so many pixels
    lower_case: bool = False  # and words separated by single blanks
    nearest: bool = False  # masks are thresholded at the size of the model input
    exclusive: bool = False  # the objects of one annotator exclude each other
    notes: tuple[str, ...] = ()

    def explain(self) -> Iterator[str]:
        """Yield one sentence for each part of the rules."""
        if self.context:
            yield (
                f"a sample is one annotated frame with its context: {self.window} frames in all, and at the ends of "
                "the video the outermost frame is repeated; only the backbone sees the context"
            )
        elif self.window == "whole":
            yield "one window of all frames; one object query is chosen for the whole video"
        else:
            yield f"windows of {self.window} frames that share none; an object query is chosen for each window"
        limit = f", the longer one at most {self.max_size}" if self.max_size else ""
        padding = f", padded with zeros to multiples of {self.pad_to}" if self.pad_to > 1 else ""
        yield f"the shorter side of the model input has {self.short_side} pixels{limit}{padding}"
        yield (
            "expressions are lower-cased, and their words separated by single blanks"
            if self.lower_case
            else "expressions are passed as they are in the manifest"
        )
        if self.candidates == "all":
            yield "all object queries are candidates, each with its own score"
        if self.nearest:
            yield (
                "mask logits are enlarged four times (bilinear), thresholded at a probability of 0.5, cropped to the "
                "input without padding, and resized by nearest sampling"
            )
        elif self.exclusive:
            yield (
                "mask logits are resized (bilinear); each pixel goes to the most probable object of the annotator (of "
                "two equal ones, to that of the lower expression_id), or to none if no probability reaches 0.5"
            )
        else:
            yield "mask logits are resized (bilinear); pixels with a probability above 0.5 are the mask"
        yield from self.notes
