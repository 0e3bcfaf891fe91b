"""JSON files of any size: small ones are read whole, large ones entry by entry in constant memory.

The mask files of MeViS, ReVOS and YouTube-VIS have hundreds of megabytes, and Python objects take several times that.
"""

import codecs
import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

import ijson

from pipeline.io import local, storage
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from schemas.errors import InputError
from schemas.json_text import MAX_DIGITS, MAX_VALUES, loads, most_values

MAX_BYTES = 2**29  # of a file that is read whole
MAX_ENTRY_BYTES = 2**28  # of one entry of a file that is read entry by entry
CHUNK = 2**16
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
ESCAPE = re.compile(r"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|(\\u[dD][89a-fA-F]..)|\\.?", re.DOTALL)
OUT_OF_RANGE = "a number is out of range; write null for an unknown value"
LONG_INTEGER = re.compile(rb"(?:^|[\s\[,:])-?[0-9]{%d}" % (MAX_DIGITS + 1))  # ijson would crash at 4300 digits
NOT_A_NUMBER = re.compile(r"\bNaN\b|-?\bInfinity\b")  # Python and pandas write them
LONGEST_ESCAPE = len(r"\ud83d\ude00")


def load(uri: str) -> dict:
    """Read the object in a small file.

    Raises InputError if the file is missing, too large or not a JSON object, has more than MAX_VALUES values, or has a
    duplicate key, half of a surrogate pair, or a number that a float cannot hold (NaN and Infinity, which are not JSON,
    among them).
    """

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict:
        content: dict[str, Any] = {}
        for name, value in pairs:
            if name in content:
                raise ValueError(f"duplicate key {name[:100]!r}")
            content[name] = value
        return content

    try:
        data = storage.read_bytes(uri, limit=MAX_BYTES)
        _refuse_stand_in(data)
        if most_values(data) > MAX_VALUES:
            raise InputError(f"{uri} has more than {MAX_VALUES} values; split it by videos")
        text = data.decode(json.detect_encoding(data))
        _refuse_lone_surrogates(text, len(text))
        content = loads(text, object_pairs_hook=unique_keys, parse_float=_finite_float, parse_constant=_finite_float)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} does not exist") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InputError(f"{uri} has more than {MAX_BYTES >> 20} MiB; split it by videos") from None
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{uri} must hold a JSON object")
    return content


def entries(uri: str, depth: int = 1) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield (path, value) for each value `depth` containers deep, in file order, and for plain values above them.

    `path` is made of keys and, in lists, positions. One value is in memory at a time. Raises InputError with the place
    in the file if it is missing or not valid JSON, a key is duplicate, half of a surrogate pair stands alone, or a
    value has more than MAX_ENTRY_BYTES, or is made of more than MAX_VALUES.
    """
    try:
        with storage.open_input(uri) as file:
            reader = _Reader(file)
            events: Iterator[tuple[str, Any]] = iter(ijson.basic_parse(reader, buf_size=CHUNK))
            try:
                for item in _walk(events, next(events), depth, ()):
                    reader.value_start, reader.values = reader.position, 0
                    yield item
                next(events, None)  # raises if anything follows
            except ArithmeticError:  # by ijson, for a huge exponent
                raise InputError(f"{uri} is not valid JSON before byte {reader.position}: {OUT_OF_RANGE}") from None
            except (ijson.JSONError, ValueError, RecursionError) as error:
                reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
                reason, _, place = (part.strip() for part in reason.partition("\n"))
                if ("invalid char" in reason or "minus" in reason) and (found := NOT_A_NUMBER.search(place)):
                    reason = f"{found[0]} is not JSON; write null for an unknown value"
                raise InputError(f"{uri} is not valid JSON before byte {reader.position}: {reason}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} does not exist") from None


def _refuse_lone_surrogates(text: str, limit: int) -> int:
    r"""Raise ValueError at half of a surrogate pair, such as `\ud83d` alone, which no text can hold.

    ijson would replace it with `?`. Checks the escapes that start before `limit`, and returns where the rest starts.
    """
    if not SURROGATE.search(text):  # nearly always; a walk through all escapes would be slow
        backslashes = limit - len(text[:limit].rstrip("\\"))
        return limit - backslashes % 2  # an odd number of them begins an escape
    for escape in ESCAPE.finditer(text):
        if escape.start() >= limit:
            return escape.start()
        if escape[2]:
            before = text[max(0, escape.start() - 40) : escape.start()]
            raise ValueError(f"{escape[2]} after {before!r} is half of a surrogate pair; write the whole character")
    return len(text)


def _refuse_stand_in(content: bytes) -> None:
    """Raise ValueError for what was saved in place of the file."""
    if found := stand_in(content[:HEAD_BYTES]):
        raise ValueError(f"it is {found}")


class _Reader:
    """A file that ijson reads: without a byte order mark and lone surrogates, and with a limit for one value."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._held = b""  # end of the last chunk, which may be the first part of a surrogate pair
        self.position = self.value_start = self.values = 0

    def read(self, size: int) -> bytes:
        checked, content = b"", b"start"
        while content and not checked:  # ijson takes an empty answer for the end of the file
            content = self._file.read(size)
            if not self.position:
                _refuse_stand_in(content)
                if not (encoding := json.detect_encoding(content)).startswith("utf-8"):
                    raise ValueError(f"its text is {encoding.upper()}; save it as UTF-8")
                content = content.removeprefix(codecs.BOM_UTF8)
            self.position += len(content)
            if self.position - self.value_start > MAX_ENTRY_BYTES:
                raise ValueError(f"an entry has more than {MAX_ENTRY_BYTES >> 20} MiB, or a quote or bracket is open")
            self.values += most_values(content)
            if self.values > MAX_VALUES:
                raise ValueError(f"an entry has more than {MAX_VALUES} values")
            if LONG_INTEGER.search(content):
                raise ValueError(OUT_OF_RANGE)
            data = self._held + content
            limit = max(0, len(data) - LONGEST_ESCAPE + 1) if content else len(data)
            end = _refuse_lone_surrogates(data.decode("latin-1"), limit)
            checked, self._held = data[:end], data[end:]
        return checked


def _walk(events: Iterator, first: tuple[str, Any], depth: int, path: tuple) -> Iterator[tuple[tuple, Any]]:
    event, value = first
    if depth == 0 or event not in ("start_map", "start_array"):
        yield path, _build(events, event, value)
        return
    seen: set[str] = set()
    for position, inner in enumerate(events):
        key = position
        if inner[0] in ("end_map", "end_array"):
            return
        if inner[0] == "map_key":
            key = inner[1]
            if key in seen:
                raise ValueError(f"duplicate key {key!r}")
            seen.add(key)
            inner = next(events)
        yield from _walk(events, inner, depth - 1, (*path, key))


def _build(events: Iterator, event: str, value: Any) -> Any:
    """Build the value that starts with this event; consumes its other events."""
    if event == "start_map":
        built: dict[str, Any] = {}
        for inner, key in events:
            if inner == "end_map":
                break
            if key in built:
                raise ValueError(f"duplicate key {key!r}")
            built[key] = _build(events, *next(events))
        return built
    if event == "start_array":
        elements = []
        for inner, inner_value in events:
            if inner == "end_array":
                break
            elements.append(_build(events, inner, inner_value))
        return elements
    return _finite_float(value) if isinstance(value, Decimal) else value


def _finite_float(value: str | Decimal) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value}: {OUT_OF_RANGE}")
    return number


class SpooledEntries:
    """JSON values by key, kept in a temporary file of about their size, so that they can be read in any order.

    Raises StorageError that names the folder of the temporary file if its disk is full.
    """

    def __init__(self) -> None:
        with local.report_full_disk("entries of a JSON file", local.temp_folder()):
            self._file = tempfile.TemporaryFile(prefix="rvos-")  # noqa: SIM115 - closed with this object
        self._spans: dict[str, tuple[int, int]] = {}  # start and length in bytes
        self._end = 0

    def add(self, key: str, value: Any) -> None:
        """Store a value."""
        content = json.dumps(value).encode()
        with local.report_full_disk("entries of a JSON file", local.temp_folder()):
            self._file.write(content)
            self._file.flush()  # unlike one unbuffered write, writes all bytes or raises
        self._spans[key] = self._end, len(content)
        self._end += len(content)

    def __contains__(self, key: str) -> bool:
        return key in self._spans

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, key: str) -> Any:
        """Read one value; threads may do so at the same time."""
        start, length = self._spans[key]
        return loads(os.pread(self._file.fileno(), length, start))
