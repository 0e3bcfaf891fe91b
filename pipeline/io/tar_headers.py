"""Read the headers of a tar file that may be made to hurt: each, and all together, are bounded.

The standard library copies the global records of a tar file into every member, looks for the end of a broken record
in all that follows, and raises errors of many kinds.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

MAX_MEMBERS = 500_000
MAX_HEADER_BYTES = 2**20  # of one member, with its long names and records
MAX_NAME = 8192  # characters, as of a URI
MAX_RECORDS = 1000  # of one header, and of those that are for all members
_RECORDS = (b"x", b"g", b"X")  # types of headers that are followed by records, LENGTH KEY=VALUE
_NAMES = (b"L", b"K")  # and by a long name, as GNU tar writes it


def regular_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the header of each regular member of an open tar file, sparse ones (with holes, `issparse`) among them.

    Raises TarError if one is damaged, and if there are too many, or too large ones.
    """
    file.seek(0)
    headers = _Headers(file)
    try:
        with tarfile.open(fileobj=headers, mode="r:") as tar:  # pyright: ignore[reportCallIssue,reportArgumentType]
            count = 0
            while entry := tar.next():
                tar.members.clear()  # tarfile keeps all
                headers.size = 0
                count += 1
                if count > MAX_MEMBERS:
                    raise tarfile.ReadError(f"more than {MAX_MEMBERS} members")
                if len(tar.pax_headers) > MAX_RECORDS:
                    raise tarfile.ReadError(f"more than {MAX_RECORDS} records for all members")
                if len(entry.name) > MAX_NAME:
                    raise tarfile.ReadError(f"a member with a name of {len(entry.name)} characters")
                if entry.size < 0:
                    raise tarfile.ReadError(f"a member of {entry.size} bytes")
                entry.pax_headers = {}
                if entry.isreg():
                    yield entry
    except RecursionError:
        raise tarfile.ReadError("a member has hundreds of headers") from None
    except (ValueError, OverflowError) as error:
        raise tarfile.ReadError(str(error)) from None


class _Headers:
    """A file of which only headers are read, up to MAX_HEADER_BYTES until `size` is set to 0 again."""

    def __init__(self, file: BinaryIO):
        self._file, self.tell = file, file.tell
        self.size = 0
        self._type = b""  # of the header before, if content follows it

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset < 0:
            raise tarfile.ReadError(f"a member begins at byte {offset}")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        self.size += size
        if size < 0 or self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {max(size, self.size)} bytes")
        content = self._file.read(size)
        if self._type in _RECORDS:
            _check_records(content)
        is_header = size == tarfile.BLOCKSIZE and not self._type
        self._type = content[156:157] if is_header and content[156:157] in (*_RECORDS, *_NAMES) else b""
        return content


def _check_records(content: bytes) -> None:
    """Raise ReadError unless each record ends where its length says, so that they take linear time."""
    at, count = 0, 0
    while at < len(content) and content[at]:
        length, blank, _ = content[at : at + 20].partition(b" ")
        if not (blank and length.isdigit() and at < content.find(b"=", at, at + int(length)) < at + int(length)):
            raise tarfile.ReadError("a record of a header is damaged")
        at, count = at + int(length), count + 1
        if count > MAX_RECORDS:
            raise tarfile.ReadError(f"more than {MAX_RECORDS} records in a header")
