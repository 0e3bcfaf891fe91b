"""Tell a video that does not exist from a machine that cannot reach the videos."""

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable

from pipeline.io import storage
from schemas.errors import InputError, MediaError, ServerError, StorageError
from schemas.shown import shown

SERVERS_ASKED = 3
MISSING_AT_START = 10  # videos in a row that a process may find missing before it has read any


class Reachable:
    """Watches what one process reads. A mount that is missing on its node must not become error rows.

    One wrong row costs one row: only many missing videos in a row before any was read, or a mount that is gone after
    it was read from, tell of the machine. So does a server that fails, unless it was never read from and others were.
    Before the first video is read, other servers of the run are asked.

    elsewhere: gives URIs of the run, from which those on other servers are chosen.
    """

    def __init__(self, elsewhere: Callable[[], Iterable[str]] = tuple) -> None:
        self._elsewhere = elsewhere
        self._missing: int | None = 0  # so far; None once a video was read
        self._read: dict[int, str] = {}  # the video that was read last from each local mount, by its device number
        self._servers: Counter[str] = Counter()  # failures of each server or bucket; negative once it was read from

    def check(self, uri: str, error: MediaError | None) -> None:
        """Note how reading a video ended. Raises StorageError if the machine is the likely cause."""
        host, server = socket.gethostname(), storage.origin(uri)
        if error is not None and isinstance(error.__cause__, ServerError):
            self._servers[server] += 1
            if self._missing is not None and self._others_answer(server):
                self._missing = None
            if self._missing is not None or not 0 < self._servers[server] < MISSING_AT_START:
                raise error.__cause__
            return
        if error is None or error.status not in ("missing", "bad_row") or error.frame is not None:
            self._missing, self._servers[server] = None, -(2**62)
            with contextlib.suppress(OSError):
                if storage.is_local(uri):
                    self._read[os.stat(storage.parent(uri)).st_dev] = uri
            return
        if error.status == "bad_row":  # tells nothing about the machine
            return
        if storage.is_local(uri) and (gone := self._gone()):
            raise StorageError(
                f"{shown(uri)} and {shown(gone)}, which was read before, are gone on host {host}; mount their folder "
                "there again, then repeat the command"
            )
        if self._missing is None:
            return
        self._missing += 1
        if self._missing >= MISSING_AT_START:
            raise StorageError(
                f"host {host} has found none of the first {self._missing} videos, the last one is {shown(uri)}; mount "
                "their folder there, then repeat the command with --retry-errors=missing. If they do not exist, repeat "
                "it as it was"
            )

    def _gone(self) -> str | None:
        """Return a video whose mount is gone since it was read: its folder too, or what lies below the mount is seen.

        So is one that may not be read any more, such as where the ticket of a mount has expired. A video alone that is
        gone was removed.
        """
        for device, uri in self._read.items():
            try:
                os.close(os.open(uri, os.O_RDONLY | os.O_NONBLOCK))
            except FileNotFoundError:
                try:
                    is_there = os.stat(storage.parent(uri)).st_dev == device
                except OSError:
                    is_there = False
                if not is_there:
                    return uri
            except OSError:
                return uri
        return None

    def _others_answer(self, server: str) -> bool:
        """Return True if a video of the run that is on another server, in another bucket or on this machine exists."""
        others: dict[str, str] = {}
        for uri in self._elsewhere():
            if (place := storage.origin(uri)) != server:
                others.setdefault(place, uri)
        for uri in [*others.values()][:SERVERS_ASKED]:
            with contextlib.suppress(InputError, OSError, StorageError):
                if storage.exists(uri):
                    return True
        return False
