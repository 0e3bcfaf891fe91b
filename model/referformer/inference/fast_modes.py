"""Fast modes (reduced precision, compiled code), checked against plain float32 on the first masks.

Both change numbers slightly, so pixels near the edge of a mask flip. How many depends on the weights and the device
more than on the video: a model with large activations overflows in float16 on every video. Comparing the start is
therefore enough.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from model.errors import FastModeError
from model.memory import is_out_of_memory
from model.referformer.inference.compiled_code import keep_privately
from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import Tokenizer
from model.segmenter import Segmentation, SegmenterStats

MAX_DIFFERENT = 0.02  # of the pixels that are mask in either mode
# Parts that run for every sentence. The backbone runs once for all and takes too long to compile for all clip lengths.
COMPILED = ("transformer.encoder", "transformer.decoder", "pixel_decoder")


class GuardedSegmenter(ReferFormerSegmenter):
    """A ReferFormerSegmenter in a fast mode that compares its masks with float32 until `stats` is called."""

    def __init__(
        self, model: ReferFormer, tokenizer: Tokenizer, *, precision: str, compiled: bool, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, precision=precision, **options)
        self.reference = ReferFormerSegmenter(model, tokenizer, **options)  # of the same weights
        self.comparing = True
        self.mode = f"{precision}, compiled," if compiled else precision
        self.different_pixels = self.mask_pixels = 0
        if compiled:
            keep_privately()
            for name in COMPILED:
                model.get_submodule(name).compile()

    def compare_again(self) -> None:
        """Compare from now on, until the next call of `stats`."""
        self.comparing, self.different_pixels, self.mask_pixels = True, 0, 0

    def stats(self) -> SegmenterStats:
        """Return the counters, and the parity with float32 in the first call after a comparison, which ends it.

        Raises FastModeError if more than MAX_DIFFERENT of the mask pixels differ.
        """
        stats = super().stats()
        if not self.comparing or not self.mask_pixels:
            return stats
        parity, self.comparing = self.different_pixels / self.mask_pixels, False
        if parity > MAX_DIFFERENT:
            raise FastModeError(
                f"masks in {self.mode} differ from those in plain fp32 in {parity:.1%} of their pixels, more than "
                f"{MAX_DIFFERENT:.0%}; choose another --precision or drop --compile",
                parity,
            )
        return replace(stats, parity=parity)

    def _segment(self, *window: Any) -> Iterator[Segmentation]:
        answers = super()._segment(*window)
        reference = self.reference.segment(*window) if self.comparing else None
        while answer := self._next(answers):
            if reference:
                self._compare(answer, reference)
            yield answer

    def _next(self, answers: Iterator[Segmentation]) -> Segmentation | None:
        try:
            return next(answers, None)
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).partition("\n")[0]
            raise FastModeError(
                f"the model cannot be compiled on this machine ({reason}); install a C++ compiler and, for a GPU, "
                "Triton, or drop --compile"
            ) from error

    def _compare(self, answer: Segmentation, references: Iterator[Segmentation]) -> None:
        try:
            with torch.compiler.set_stance("force_eager"):
                reference = next(references, None)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return  # float32 takes more memory; compare another window
        if reference and answer.finite == reference.finite:
            self.different_pixels += int((answer.masks != reference.masks).sum())
            self.mask_pixels += int((answer.masks | reference.masks).sum())
        elif reference:  # one of them overflowed: all of its pixels are wrong
            self.different_pixels += answer.masks.size
            self.mask_pixels += answer.masks.size
