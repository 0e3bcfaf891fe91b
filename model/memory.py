"""How much goes through the model at once: as much as memory allows, and less when it was full."""

from collections.abc import Callable
from typing import TypeVar

import torch

BYTES_PER_PIXEL = 1024  # of the model's input, for one sentence; a first guess, which running out of memory corrects
MOST_SENTENCES = 32
CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory")  # torch has no exception type for it

T = TypeVar("T")


class BatchSizer:
    """What is computed at once, in pixels of the model's input: those of all frames, for each sentence of a batch.

    Half of what was too much is not exceeded from then on: first there are fewer sentences in a batch, then fewer
    frames where these do not see each other. Neither changes a mask, and what is small enough is not slowed down.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.most: int | None = None  # pixels; None as long as memory was never full
        self.halvings = 0

    def fit(self, compute: Callable[[int, int | None], T], pixels: int, frames: int, sentences: int = 1) -> T:
        """What `compute(sentences, frames_at_once)` gives with as many sentences as there is room for.

        pixels: of a window of so many `frames`; sentences: at most; frames_at_once: None for all. Raises what `compute`
        does: out of memory only with one sentence and frame by frame, after which there is as much room as before.
        """
        before = self.most
        while True:
            together, at_once = self._allowed(pixels, frames, sentences)
            try:
                return compute(together, at_once)
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
                least = together == 1 and (at_once or frames) == 1
                if least:
                    self.most = before  # this window fits in no way; others need not suffer for it
                if least or not is_out_of_memory(error):
                    raise
            self.most = (together * pixels if at_once is None else at_once * pixels // frames) // 2
            self.halvings += 1
            release_cache()

    def _allowed(self, pixels: int, frames: int, sentences: int) -> tuple[int, int | None]:
        most = min(sentences, sentences_at_once(pixels, self.device))
        if self.most is None:
            return most, None
        at_once = None if self.most >= pixels else max(1, self.most * frames // pixels)
        return max(1, min(most, self.most // pixels)), at_once


def sentences_at_once(pixels: int, device: torch.device) -> int:
    """How many sentences about a window of `pixels`, all frames together, free memory promises to hold; at least 1.

    On a CPU it is always one: it is busy with one, and more only leave its cache.
    """
    if device.type == "cpu":
        return 1
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, and free
    room = torch.cuda.mem_get_info(device)[0] + kept
    return min(max(1, room // (BYTES_PER_PIXEL * pixels)), MOST_SENTENCES)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the host had no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error) for text in CPU_OUT_OF_MEMORY
    )


def release_cache() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
