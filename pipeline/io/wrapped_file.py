"""A file that another one reads through, for checks on what is read."""

import io
from typing import BinaryIO


class WrappedFile(io.RawIOBase):
    """The bytes of `file`, seekable. Subclasses define `read`, which says what is checked."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
