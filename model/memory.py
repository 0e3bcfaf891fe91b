"""What memory allows: how many sentences go through the model at once, and whether an error means that it was full."""

import torch

BYTES_PER_PIXEL = 1024  # of the model's input, for one sentence; a first guess, which running out of memory corrects
MOST_SENTENCES = 32
CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory")  # torch has no exception type for it


def sentences_at_once(pixels: int, device: torch.device) -> int:
    """How many sentences about a window of `pixels`, all frames together, to decode in one batch.

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
