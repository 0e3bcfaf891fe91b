"""Bound the requests by which a few parts of a remote file are read, since a file may lead a reader from part to part.

An index of MP4 is a chain of boxes, each with the place of the next one. With boxes of 1 MiB, a file of 1 TiB takes a
million requests, and a server may make up such a file.
"""

from typing import BinaryIO

from pipeline.io.wrapped_file import WrappedFile
from schemas.errors import MediaError
from schemas.shown import shown

MAX_REQUESTS = 2**14  # those of fragments of 2 s each, for four hours and a half
REQUEST_BYTES = 2**20  # of a buffered remote file


class FewRequests(WrappedFile):
    """The bytes of `file`, a buffered remote file. Raises MediaError after MAX_REQUESTS."""

    def __init__(self, file: BinaryIO, uri: str):
        """uri: of the file, in messages."""
        super().__init__(file)
        self._uri = uri
        self._count, self._start, self._stop = 0, 0, 0  # requests so far; the bytes of the last one

    def read(self, size: int = -1) -> bytes:
        at = self._file.tell()
        if size < 0 or at < self._start or at + size > self._stop:
            self._count += 1
            self._start, self._stop = at, at + max(size, REQUEST_BYTES)
        if self._count > MAX_REQUESTS:
            reason = f"its header and first frame are in more than {MAX_REQUESTS} places of the file"
            raise MediaError("corrupt", f"{shown(self._uri)}: {reason}; copy the video to this machine")
        return self._file.read(size)
