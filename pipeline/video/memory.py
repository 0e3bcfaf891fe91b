"""Tell a machine without memory or threads from a file that asks for more than any sound one needs."""

import mmap
import threading

MOST = 2**30  # bytes that decoding a frame of the largest size may take
OUT_OF_MEMORY = "out of memory"  # in the OSError that Pillow raises


class ShortageError(MemoryError):
    """The machine, not a file, was the cause; by now, more memory may be free."""


def is_short_of_memory(error: BaseException) -> bool:
    """Return True if memory or a thread was refused because little is left; False for an absurd request.

    FFmpeg reports memory alike in both cases, and refuses sizes that a file only claims. Where no thread can be
    started, it reports EAGAIN, a BlockingIOError. False for other errors.
    """
    if isinstance(error, ShortageError):
        return True
    if not isinstance(error, (MemoryError, BlockingIOError)):
        return False
    try:
        mmap.mmap(-1, MOST).close()
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    except (OSError, RuntimeError):
        return True
    return False


def raise_shortage(error: Exception) -> None:
    """Raise ShortageError if `error`, of Pillow, says that this machine has too little memory."""
    is_of_memory = isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error)
    if is_of_memory and is_short_of_memory(MemoryError()):
        raise ShortageError(str(error)) from error
