"""The errors that a user sees, and the exit code of each.

`InputError` and `InfrastructureError` end the command with exit code 2 or 3 and print their text alone. `MediaError`
concerns one video and becomes one error row for each of its pairs.
"""

from schemas.shown import bounded, without_secrets

# How a pair ends: with masks, or in one of the ways to fail.
FAILURES = ("missing", "corrupt", "short_read", "bad_row", "oom", "timeout", "crash", "nan")
STATUSES = ("ok", *FAILURES)


class RvosError(Exception):
    """Base of the errors that are printed without a traceback, the secrets of a URI, and words without an end."""

    exit_code = 1

    def __str__(self) -> str:
        return bounded(without_secrets(super().__str__()))


class InputError(RvosError):
    """Wrong use or bad input. The text names the file, the row and the way out."""

    exit_code = 2


class ImplausibleError(InputError):
    """The input can be read, but is hardly what was meant. `--force` accepts it."""


class NotAFileError(InputError, OSError):
    """A path names a pipe, a device or a socket, which may never end, or never begin."""


class InfrastructureError(RvosError):
    """Storage, cluster or device failed. Repeating the command may help."""

    exit_code = 3


class ProcessError(InfrastructureError):
    """An unexpected error in the process of an actor, such as one of CUDA. Another process may succeed."""


class StorageError(InfrastructureError, OSError):
    """The storage as a whole failed, not one file: no answer after all retries, access denied, disk full."""


class ServerError(StorageError):
    """The server of one file, or its bucket, does not answer or denies access. Those of other files may be well."""


class ReplacedError(StorageError):
    """A file was replaced by another process while it was read. Reading it again helps."""


class MediaError(RvosError):
    """A video cannot be read as requested.

    `status` is one of STATUSES (missing, corrupt, short_read, bad_row), `reason` names the problem and the way out,
    `frame` is the name or index of the frame concerned, or None.
    """

    def __init__(self, status: str, reason: str, frame: str | int | None = None):
        super().__init__(status, reason, frame)
        self.status = status
        self.reason = reason
        self.frame = frame

    def __str__(self) -> str:
        return bounded(without_secrets(self.reason if self.frame is None else f"frame {self.frame}: {self.reason}"))
