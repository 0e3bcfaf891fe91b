"""Probe a storage: does it keep what a run needs of it? Documentation and names of products do not tell.

The first writer of a file must win, a replacement must need the version that was read, and a written file must be
listed at once. Some clones of S3 accept the conditions and ignore them; some file systems have no links or no locks.
"""

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.io import local, process, remote, s3, storage
from pipeline.io.filesystem import S3, UnsupportedError
from schemas.errors import StorageError

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)  # say nothing about the kind of storage


def missing_guarantees(folder: str) -> list[str]:
    """Try the storage under `folder` and clean up. Returns what it does not keep; raises OSError if it fails."""
    probe = storage.join(folder, f".probe-{process.writer_name()}-{time.time():.0f}-{uuid.uuid4().hex[:12]}")
    try:
        return [problem for name, check in _checks(folder) if (problem := _run(name, check, storage.join(probe, name)))]
    finally:
        with contextlib.suppress(OSError):
            storage.remove_folder(probe)
            if not storage.is_remote(folder):
                os.rmdir(folder)  # if it did not exist before; fails if it has content


def remove_probes(folder: str) -> None:
    """Remove the probe folders that killed processes of this host left in `folder`, and those of long ago."""
    for name in remote.names(folder) if storage.is_remote(folder) else os.listdir(folder):
        if found := storage.PROBE.fullmatch(name):
            has_ended = process.has_ended(found[1] or "")
            is_old = time.time() - int(found[2] or 0) > local.OLD_SECONDS
            if is_old if has_ended is None else has_ended:  # the clock of this host may have jumped
                storage.remove_folder(storage.join(folder, name))


def _checks(folder: str) -> Iterator[tuple[str, Callable[[str], str | None]]]:
    yield "create", _first_writer_wins
    yield "replace", _swap_needs_the_version
    yield "list", _is_listed
    if folder.startswith(S3):
        yield "upload in parts", _conditions_hold_in_parts


def _run(name: str, check: Callable[[str], str | None], uri: str) -> str | None:
    try:
        return check(uri)
    except UnsupportedError as error:
        return str(error)
    except StorageError:
        raise
    except OSError as error:
        if error.errno in REFUSED:
            raise
        return f"cannot {name} a file ({error.strerror or error})"


def _first_writer_wins(uri: str) -> str | None:
    first, second = (storage.write_bytes(uri, content, replace=False) for content in (b"1", b"2"))
    if not first or second or storage.read_bytes(uri) != b"1":
        return "a second writer replaces the file of the first (If-None-Match is ignored)"
    return None


def _swap_needs_the_version(uri: str) -> str | None:
    storage.write_bytes(uri, b"1")
    seen = storage.version(uri)
    swapped = []
    for content in (b"22", b"333"):
        with storage.spool(uri) as path:
            Path(path).write_bytes(content)
            swapped.append(bool(storage.swap(path, uri, seen)))
    if swapped != [True, False] or storage.read_bytes(uri) != b"22":
        return "a file is replaced although it has changed (If-Match is ignored)"
    return None


def _is_listed(uri: str) -> str | None:
    storage.write_bytes(uri, b"1")
    listed = storage.file_name(uri) in storage.names(storage.parent(uri))
    storage.remove(uri)
    if not listed or storage.exists(uri):
        return "listings lag behind what is written and removed"
    return None


def _conditions_hold_in_parts(uri: str) -> str | None:
    """Large files go up in parts, where some servers know no conditions."""
    with storage.spool(uri) as path:
        Path(path).write_bytes(b"1")
        created = [bool(s3.upload(path, uri, {"IfNoneMatch": "*"}, in_parts=True)) for _ in range(2)]
        seen = storage.version(uri)
        Path(path).write_bytes(b"22")
        swapped = [bool(s3.upload(path, uri, {"IfMatch": seen}, in_parts=True)) for _ in range(2)]
    if created != [True, False] or swapped != [True, False]:
        return "conditions are ignored for files that are uploaded in parts"
    return None
