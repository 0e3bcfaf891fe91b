"""Tell a machine without memory from a file that asks for more than any sound one needs."""

import mmap

MOST = 2**30  # bytes that decoding a frame of the largest size may take


def is_short_of_memory(error: BaseException) -> bool:
    """Return True if memory was refused because little is left; False for an absurd request, or another error.

    FFmpeg reports both alike, and refuses sizes that a file only claims.
    """
    if not isinstance(error, MemoryError):
        return False
    try:
        mmap.mmap(-1, MOST).close()
    except OSError:
        return True
    return False
