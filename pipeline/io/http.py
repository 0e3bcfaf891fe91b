"""Read files over HTTP and HTTPS.

A server may fail for a moment (5xx, 408, 425, 429, no answer) or for good (expired signatures, wrong certificates).
Both are failures of the storage, and StorageError ends the command; only the former are repeated before. 404, 410 and
451 mean that the file does not exist.
"""

import contextlib
import errno
import functools
import http.client
import io
import random
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO, TypeVar

from pipeline.io import content_encoding, local, peers
from pipeline.io.answer import Pace, TooSlowError
from schemas.errors import ServerError
from schemas.shown import shown
from schemas.uri import SAFE, parse

HTTP = ("http://", "https://")
TRIES = 8
FIRST_PAUSE = 0.2  # seconds, doubled after each try: 25 s of waiting on average, 51 at most
TIMEOUT = 30.0  # seconds without an answer or a byte
BLOCK_BYTES = 2**20
GONE = {404: "No such file or directory", 410: "gone for good (HTTP 410)", 451: "withheld for legal reasons (HTTP 451)"}
PASSING = (408, 425, 429)  # of the answers 4xx
UNKNOWN_ISSUERS = (18, 19, 20, 21)  # codes of OpenSSL: self-signed, itself or in its chain, or no issuer known

Result = TypeVar("Result")


def repeat(uri: str, request: Callable[[], Result]) -> Result:
    """Return the result of `request`, repeated while the server fails. Raises StorageError after TRIES.

    Raised at once: FileNotFoundError for an answer in GONE, OSError for a URL that is none or a redirect that cannot be
    followed, and StorageError if the server refuses the request or its certificate is not trusted.
    """
    for tries in range(1, TRIES + 1):
        try:
            return request()
        except (FileNotFoundError, peers.PrivatePeerError):
            raise
        except TooSlowError as error:
            raise _too_slow(uri, error) from None
        except (http.client.InvalidURL, ValueError) as error:
            raise OSError(errno.EINVAL, f"not a valid URL: {error}", shown(uri)) from None
        except Exception as error:
            status = getattr(error, "status", None)  # of urllib and of aiohttp
            if status in GONE:
                raise FileNotFoundError(errno.ENOENT, GONE[status], shown(uri)) from None
            if status and 300 <= status < 400:  # not followed: a loop, or a scheme such as file:
                reason = f"the server redirects to where nothing can be read (HTTP {status})"
                raise OSError(errno.EINVAL, reason, shown(uri)) from None
            if not isinstance(error, (OSError, http.client.HTTPException)) and status is None:
                raise
            if status and 400 <= status < 500 and status not in PASSING:
                hint = "renew the signature or the keys of the URL" if status in (401, 403) else "correct the URL"
                text = f"the server refuses the request: HTTP {status}; {hint}, then repeat the command"
                raise ServerError(f"{shown(uri)}: {text}") from None
            cause = getattr(error, "reason", None)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ServerError(f"{shown(uri)}: {_not_trusted(cause)}, then repeat the command") from None
            reason = f"HTTP {status}" if status else str(cause or error) or type(error).__name__
        if tries < TRIES:
            time.sleep(random.random() * FIRST_PAUSE * 2**tries)
    hint = "check the server and the network"
    raise ServerError(f"{shown(uri)}: the server failed {TRIES} times: {reason}; {hint}, then repeat the command")


def _not_trusted(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not trusted, and the way out: OpenSSL reads SSL_CERT_FILE in every process."""
    reason = f"the certificate of the server is not trusted ({error.verify_message})"
    if error.verify_code in UNKNOWN_ISSUERS:
        return f"{reason}; set SSL_CERT_FILE to a PEM file with the certificate of its issuer, on every host"
    return f"{reason}; correct the host in the URL, the clock of this machine or the certificate of the server"


def _too_slow(uri: str, error: TooSlowError) -> ServerError:
    return ServerError(f"{shown(uri)}: {error}; check the server and the network, then repeat the command")


def size(uri: str) -> int:
    """Return the size of a file in bytes; 0 if the server does not state it."""
    with contextlib.closing(repeat(uri, lambda: _get(uri, 0))) as answer:
        return _total(answer)


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable. A server without range requests, or that packs it, sends it whole first."""
    with contextlib.closing(repeat(uri, lambda: _get(uri, 0))) as answer:
        ranges, total = answer.status == 206, _total(answer)
        is_packed = content_encoding.of(answer)  # its ranges are those of the packed bytes
    if ranges and not is_packed:
        with io.BufferedReader(_RangeFile(uri, total), BLOCK_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]
        return
    with local.report_full_disk(uri, local.temp_folder()), tempfile.TemporaryFile(prefix="rvos-") as file:
        with contextlib.closing(download(uri)[1]) as blocks:
            file.writelines(local.bounded(blocks, local.MAX_UNTOLD_BYTES, uri))
        file.seek(0)
        yield file  # pyright: ignore[reportReturnType]


def download(uri: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a file (0 if the server does not state it), and its content block by block."""
    answer = repeat(uri, lambda: _get(uri, 0))
    blocks, packed = _blocks(uri, answer), content_encoding.of(answer)
    return _total(answer), content_encoding.unpack(blocks, packed, uri) if packed else blocks


def _blocks(uri: str, answer: Any) -> Generator[bytes, None, None]:
    """Yield the body. After an interruption, ask again for the bytes that are still to come."""
    total, at, tries, pace = _sent(answer), 0, 0, Pace()
    while True:
        try:
            with contextlib.closing(answer):
                skip = at if answer.status != 206 else 0  # the server has sent the file from its start
                while skip and (block := answer.read(min(skip, BLOCK_BYTES))):
                    skip -= len(block)
                while block := answer.read(BLOCK_BYTES):
                    pace.add(len(block), 0.0)
                    at, tries = at + len(block), 0
                    yield block
            if at >= total:
                return
            reason = f"the answer ends after {at} of {total} bytes"
        except TooSlowError as error:
            raise _too_slow(uri, error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        tries += 1
        if tries == TRIES:
            raise ServerError(f"{shown(uri)}: {reason}; check the server and the network, then repeat the command")
        began = time.monotonic()
        time.sleep(random.random() * FIRST_PAUSE * 2**tries)
        answer = repeat(uri, functools.partial(_get, uri, at))
        try:
            pace.add(0, time.monotonic() - began)  # a server may send a byte an answer
        except TooSlowError as error:
            answer.close()
            raise _too_slow(uri, error) from None


def _get(uri: str, start: int, stop: int | None = None) -> Any:
    """Return the open answer for bytes start..stop-1 of a file."""
    uri = parse(uri)
    wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
    request = urllib.request.Request(urllib.parse.quote(uri.partition("#")[0], safe=SAFE), headers=wanted)
    try:
        answer = peers.opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # an empty file, or one that ends before `start`
            return urllib.response.addinfourl(io.BytesIO(), http.client.HTTPMessage(), uri, error.code)
        raise
    if answer.status == 206 and _first_byte(answer) != start:
        answer.close()
        raise http.client.HTTPException(f"the server sends other bytes than those from {start} on")
    return answer


def _first_byte(answer: Any) -> int:
    found = re.match(r"bytes\s+([0-9]{1,18})-", answer.headers.get("Content-Range", ""), re.IGNORECASE)
    return int(found[1]) if found else -1


def _total(answer: Any) -> int:
    return 0 if content_encoding.of(answer) else _sent(answer)


def _sent(answer: Any) -> int:
    """Return the bytes that a server stores or sends, packed if it packs them; 0 if it does not state them."""
    headers = getattr(answer, "headers", {})
    stated = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return int(stated) if re.fullmatch("[0-9]{1,18}", stated) else 0


class _RangeFile(io.RawIOBase):
    """A file as a seekable stream. Each read is one request."""

    def __init__(self, uri: str, total: int):
        self._uri, self._total, self._at = uri, total, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._total}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._total)
        content = repeat(self._uri, lambda: self._fetch(stop)) if stop > self._at else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _fetch(self, stop: int) -> bytes:
        with contextlib.closing(_get(self._uri, self._at, stop)) as answer:
            content = answer.read(stop - self._at)
        if len(content) < stop - self._at:
            raise http.client.IncompleteRead(content, stop - self._at - len(content))
        return content
