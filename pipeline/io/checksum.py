"""A checksum over every byte of a Parquet file, stored in the file itself, between its data and its footer.

Readers of Parquet find the footer from the end of the file and the data by offsets in it, so they skip the checksum.
Checksums of pages, which they can verify, cover the data only.
"""

import hashlib
import os
from typing import BinaryIO

from schemas.errors import InputError

MAGIC = b"RVOSUM01"
SUM_BYTES = len(MAGIC) + 32
END_BYTES = 8  # length of the footer, and the magic bytes of Parquet
BLOCK_BYTES = 2**20


def seal(path: str) -> None:
    """Insert the checksum into the Parquet file `path`. Only its last part, the footer, moves."""
    with open(path, "r+b") as file:
        start = _footer_start(file)
        file.seek(start)
        footer = file.read()
        digest = _digest(file, start, footer)
        file.seek(start)
        file.write(MAGIC + digest + footer)


def is_sealed(path: str) -> bool:
    """Return True if the Parquet file `path` has a checksum. Raises InputError if its content does not match it."""
    with open(path, "rb") as file:
        return is_sealed_file(file)


def is_sealed_file(file: BinaryIO) -> bool:
    """As `is_sealed`, of an open file."""
    start = _footer_start(file)
    if start < SUM_BYTES:
        return False
    file.seek(start - SUM_BYTES)
    stored = file.read(SUM_BYTES)
    if not stored.startswith(MAGIC):
        return False
    if stored[len(MAGIC) :] != _digest(file, start - SUM_BYTES, file.read()):
        raise InputError("the content does not match its checksum")
    return True


def _footer_start(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_BYTES))
    end = file.read(END_BYTES)
    start = size - END_BYTES - int.from_bytes(end[:4], "little")
    if len(end) < END_BYTES or end[4:] != b"PAR1" or start < 4:
        raise InputError("the file is truncated or is not Parquet")
    return start


def _digest(file: BinaryIO, stop: int, footer: bytes) -> bytes:
    """Return the SHA-256 of the first `stop` bytes of `file`, and of `footer`."""
    digest = hashlib.sha256()
    file.seek(0)
    while stop and (block := file.read(min(stop, BLOCK_BYTES))):
        digest.update(block)
        stop -= len(block)
    digest.update(footer)
    return digest.digest()
