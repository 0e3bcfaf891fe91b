"""Guard of faster ways to compute: their first masks beside those of plain float32.

Reduced precision and compiled code give slightly other numbers, so pixels near the edge of a mask flip. How many do
depends on the weights and the device more than on the video: a model with large activations overflows in float16 on all
of them. So it is enough to look at the start.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from model.errors import FastModeError
from model.memory import is_out_of_memory
from model.referformer.inference.segmenter import Segmentation, Segmenter, SegmenterStats
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import Tokenizer

MOST_DIFFERENT = 0.02  # of the pixels that are mask either way
# What each sentence needs. The backbone works once for all of them, and takes too long to compile for all lengths.
COMPILED = ("transformer.encoder", "transformer.decoder", "pixel_decoder")


class GuardedSegmenter(Segmenter):
    """A Segmenter in reduced precision or compiled (or both), which compares its masks with float32 until `settle`."""

    def __init__(
        self, model: ReferFormer, tokenizer: Tokenizer, *, precision: str, compiled: bool, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, precision=precision, **options)
        self.plain: Segmenter | None = Segmenter(model, tokenizer, **options)  # the same weights
        self.way = f"{precision}, compiled," if compiled else precision
        self.different = self.either = 0  # pixels
        if compiled:
            compile_parts(model)

    def stats(self) -> SegmenterStats:
        """As of any Segmenter, with the end of the comparison. Raises FastModeError."""
        return replace(super().stats(), parity=self.settle())

    def settle(self) -> float | None:
        """End the comparison, and say which share of the masks' pixels differed: None if none was compared since the
        last time. Raises FastModeError if it is more than MOST_DIFFERENT."""
        if self.plain is None or not self.either:
            return None
        share, self.plain = self.different / self.either, None
        if share > MOST_DIFFERENT:
            raise FastModeError(
                f"masks in {self.way} differ from those in plain fp32 in {share:.1%} of their pixels, more than "
                f"{MOST_DIFFERENT:.0%}; take another --precision, or leave --compile out"
            )
        return share

    def _segment(self, *window: Any) -> Iterator[Segmentation]:
        answers = super()._segment(*window)
        plain = self.plain and self.plain.segment(*window)
        while answer := self._next(answers):
            if plain:
                self._compare(answer, plain)
            yield answer

    def _next(self, answers: Iterator[Segmentation]) -> Segmentation | None:
        try:
            return next(answers, None)
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # which only compiling loads, in seconds

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).partition("\n")[0]
            raise FastModeError(
                f"the model cannot be compiled on this machine ({reason}); install a C++ compiler and, for a GPU, "
                "Triton, or leave --compile out"
            ) from error

    def _compare(self, answer: Segmentation, plain: Iterator[Segmentation]) -> None:
        try:
            with torch.compiler.set_stance("force_eager"):
                reference = next(plain, None)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return  # float32 takes more memory; other windows will tell
        if reference and answer.finite == reference.finite:
            self.different += int((answer.masks != reference.masks).sum())
            self.either += int((answer.masks | reference.masks).sum())
        elif reference:  # one of them overflowed: none of its pixels is worth anything
            self.different += answer.masks.size
            self.either += answer.masks.size


def compile_parts(model: ReferFormer) -> None:
    """Have torch compile the parts that take the time, when they are first called."""
    for name in COMPILED:
        model.get_submodule(name).compile()
