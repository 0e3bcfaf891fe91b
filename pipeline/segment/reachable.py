"""Tell a video that does not exist from a machine that cannot reach the videos."""

import socket

from pipeline.io import storage
from schemas.errors import MediaError, StorageError

MISSING_AT_START = 10  # videos in a row that a process may find missing before it has read any


class Reachable:
    """Watches what one process reads. A mount that is missing on its node must not become error rows."""

    def __init__(self) -> None:
        self._missing: int | None = 0  # so far; None once a video was read

    def check(self, uri: str, error: MediaError | None) -> None:
        """Note how reading a video ended. Raises StorageError if the machine is the likely cause."""
        if error is None or error.status != "missing" or error.frame is not None:
            self._missing = None
            return
        host, folder = socket.gethostname(), storage.parent(uri)
        if not storage.is_remote(uri) and not storage.exists(folder):
            raise StorageError(
                f"{uri}: the folder {folder} does not exist on host {host}; mount it there and repeat the command. If "
                "video_uri is wrong, create an empty folder of that name: its pairs then become error rows"
            )
        if self._missing is None:
            return
        self._missing += 1
        if self._missing >= MISSING_AT_START:
            raise StorageError(
                f"host {host} has found none of the first {self._missing} videos, the last one is {uri}; mount their "
                "folder there, then repeat the command with --retry-errors=missing. If they do not exist, repeat it as "
                "it was"
            )
