"""Unpack the answers of servers that pack files on the way (Content-Encoding, RFC 9110), although none was asked for.

Buckets keep files so too: Google Cloud Storage after `gsutil cp -z`, S3 with the metadata of the object.
"""

import contextlib
import errno
import zlib
from collections.abc import Generator
from typing import Any

from schemas.shown import shown

BLOCK_BYTES = 2**20  # of unpacked content
_GZIP, _ZLIB = ("gzip", "x-gzip"), "deflate"
_EITHER = 32 + zlib.MAX_WBITS  # of the headers of gzip and zlib


def of(answer: Any) -> str:
    """Return the encoding of an answer; "" for the file as it is."""
    headers = getattr(answer, "headers", None) or {}
    stated = str(headers.get("Content-Encoding") or "").strip().lower()
    return "" if stated in ("identity", "none", "aws-chunked", "utf-8") else stated


def unpack(blocks: Generator[bytes, None, None], encoding: str, uri: str) -> Generator[bytes, None, None]:
    """Yield the content in blocks of BLOCK_BYTES at most. Raises OSError if it cannot be unpacked."""
    if encoding not in (*_GZIP, _ZLIB):
        raise _error(uri, f"the server sends it packed with {encoding[:20]!a}, which cannot be unpacked here")
    unpacker, started = zlib.decompressobj(_EITHER), False
    with contextlib.closing(blocks):
        for block in blocks:
            rest, started = block, True
            while rest:
                if unpacker.eof:  # gzip may have several members
                    unpacker = zlib.decompressobj(_EITHER)
                try:
                    content = unpacker.decompress(rest, BLOCK_BYTES)
                except zlib.error as error:
                    raise _error(uri, f"the server says Content-Encoding: {encoding}, but sends other bytes") from error
                rest = unpacker.unconsumed_tail or unpacker.unused_data
                if content:
                    yield content
    if started and not unpacker.eof:
        raise _error(uri, f"the packed content (Content-Encoding: {encoding}) is cut off")


def _error(uri: str, reason: str) -> OSError:
    return OSError(errno.EINVAL, f"{reason}; store the file on the server as it is", shown(uri))
