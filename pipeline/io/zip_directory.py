"""Open a zip whose directory may claim anything: it is bounded before memory is taken for it."""

import io
import zipfile
from typing import BinaryIO

_ENTRY = b"PK\x01\x02"  # the first bytes of an entry of a directory; each takes some 500 bytes in memory


def open_zip(file: BinaryIO, *, most_bytes: int, most_members: int) -> zipfile.ZipFile:
    """Open a zip. Raises BadZipFile if its directory has more than `most_bytes` bytes or `most_members` entries, or
    points outside the file, or if members share bytes: many could be a single one."""
    archive = zipfile.ZipFile(_BoundedFile(file, most_bytes, most_members))  # pyright: ignore[reportArgumentType]
    if sum(entry.compress_size for entry in archive.filelist) > file.seek(0, io.SEEK_END):
        archive.close()
        raise zipfile.BadZipFile("its members are larger than the file, so they overlap")
    return archive


def require_streamed(entry: zipfile.ZipInfo) -> None:
    """Raise BadZipFile unless the content of an entry can be unpacked in bounded pieces, whatever size it states.

    zipfile unpacks bzip2 and LZMA without a limit: 1.5 kB took 4 GB.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"it is packed by method {entry.compress_type}; only stored and deflate are read")


class _BoundedFile:
    """A file that refuses to read too much at once, because a directory is read as a whole.

    It also refuses positions outside the file, which a damaged directory may name.
    """

    def __init__(self, file: BinaryIO, most_bytes: int, most_members: int):
        self.tell, self.seekable = file.tell, file.seekable
        self._file, self._size = file, file.seek(0, io.SEEK_END)
        self._most_bytes, self._most_members = most_bytes, most_members

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and not 0 <= offset <= self._size:
            raise zipfile.BadZipFile("its directory points outside the file")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if size > self._most_bytes:
            raise zipfile.BadZipFile(f"its directory alone takes {size} bytes")
        content = self._file.read(size)
        if content.startswith(_ENTRY) and content.count(_ENTRY) > self._most_members:
            raise zipfile.BadZipFile(f"more than {self._most_members} members")
        return content
