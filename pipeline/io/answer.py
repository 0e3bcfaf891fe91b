"""Answers of HTTP servers that may never end: too slow ones, and headers without number, are an error.

The standard library waits for as long as a byte comes now and then. It also reads any number of answers "100 Continue"
and of headers behind the content, and takes negative sizes of pieces.
"""

import http.client
import io
import time
from typing import Any

WINDOW = 60.0  # seconds of waiting, in which LEAST_BYTES must come
LEAST_BYTES = 2**18
MAX_HEADER_BYTES = 2**20  # until the content begins
MAX_LINE = 256  # characters of the size of a piece


class TooSlowError(OSError):
    """A server sends so little that reading would take for ever."""


class Pace:
    """Counts bytes, and the seconds that were waited for them."""

    def __init__(self) -> None:
        self._waited, self._count = 0.0, 0

    def add(self, count: int, seconds: float) -> None:
        """Raise TooSlowError if less than LEAST_BYTES have come in a WINDOW."""
        self._waited += seconds
        self._count += count
        if self._waited < WINDOW:
            return
        if self._count < LEAST_BYTES:
            raise TooSlowError(f"the server sent {self._count} bytes in {self._waited:.0f} s")
        self._waited, self._count = 0.0, 0


class Answer(http.client.HTTPResponse):
    """An answer whose headers and content come within a time, or raise TooSlowError or HTTPException."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._timed = _TimedSocket(self.fp.detach())  # pyright: ignore[reportAttributeAccessIssue]
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        super().begin()
        self._timed.headers_left = None

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(MAX_LINE + 1)
        digits = line.partition(b";")[0].strip()
        if len(line) > MAX_LINE or not digits.isalnum() or not digits.isascii():
            self._close_conn()  # pyright: ignore[reportAttributeAccessIssue]
            raise http.client.HTTPException("the size of a piece is not a number")
        return int(digits, 16)  # its ValueError is caught by the caller

    def _read_and_discard_trailer(self) -> None:
        http.client.parse_headers(self.fp)  # at most 100


class _TimedSocket(io.RawIOBase):
    """The raw stream of a socket, timed."""

    def __init__(self, raw: io.RawIOBase):
        self._raw, self._pace = raw, Pace()
        self.headers_left: int | None = MAX_HEADER_BYTES

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int:
        began = time.monotonic()
        count: int = self._raw.readinto(buffer) or 0  # pyright: ignore[reportAttributeAccessIssue]
        self._pace.add(count, time.monotonic() - began)
        if self.headers_left is not None:
            self.headers_left -= count
            if self.headers_left < 0:
                raise http.client.HTTPException(f"more than {MAX_HEADER_BYTES} bytes come before the content")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
