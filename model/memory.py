"""Batch sizes that fit in memory: as many sentences and frames at once as possible, fewer after running out."""

from collections.abc import Callable
from typing import TypeVar

import torch

BYTES_PER_PIXEL = 1024  # of the model's input, for one sentence: a first guess, corrected on running out of memory
MAX_SENTENCES = 32
CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory")  # torch has no exception type for it

T = TypeVar("T")


class BatchSizer:
    """Limit of what is computed at once: pixels of the model's input, all frames, times sentences in the batch.

    Running out of memory halves the limit for good: first fewer sentences in a batch, then fewer frames at once in the
    parts where frames do not see each other. Neither changes a mask, and smaller windows keep their speed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.max_pixels: int | None = None  # None until memory was full
        self.halvings = 0

    def run(self, compute: Callable[[int, int | None], T], pixels: int, frames: int, sentences: int = 1) -> T:
        """Return `compute(sentences_at_once, frames_at_once)` with as much at once as fits.

        pixels: of the window, all `frames` together; sentences: the most to take; frames_at_once: None for all.
        Raises the errors of `compute`. Out of memory is raised only if one sentence, frame by frame, does not fit; the
        limit is then what it was before.
        """
        before = self.max_pixels
        while True:
            sentences_now, frames_now = min(sentences, sentences_at_once(pixels, self.device)), None
            if self.max_pixels is not None:
                sentences_now = max(1, min(sentences_now, self.max_pixels // pixels))
                if self.max_pixels < pixels:
                    frames_now = max(1, self.max_pixels * frames // pixels)
            try:
                return compute(sentences_now, frames_now)
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
                smallest = sentences_now == 1 and (frames_now or frames) == 1
                if smallest:
                    self.max_pixels = before  # this window never fits; do not slow down the others
                if smallest or not is_out_of_memory(error):
                    raise
            tried = sentences_now * pixels if frames_now is None else frames_now * pixels // frames
            self.max_pixels = tried // 2
            self.halvings += 1
            release_cache()


def sentences_at_once(pixels: int, device: torch.device) -> int:
    """Estimate how many sentences about a window of `pixels`, all frames together, fit in free memory; at least 1.

    Always 1 on a CPU: one sentence keeps it busy, and more fall out of its cache.
    """
    if device.type == "cpu":
        return 1
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch, and free
    free = torch.cuda.mem_get_info(device)[0] + cached
    return min(max(1, free // (BYTES_PER_PIXEL * pixels)), MAX_SENTENCES)


def is_out_of_memory(error: Exception) -> bool:
    """Return True if the device or the host had no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error) for text in CPU_OUT_OF_MEMORY
    )


def release_cache() -> None:
    """Return GPU memory that torch caches to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
