"""The errors that a user sees, and what becomes of each.

`InputError` and `InfrastructureError` end the command (exit codes 2 and 3) with their text alone; `MediaError` is
what one video does wrong and becomes one error row for each of its pairs.
"""

import re

from schemas.pair import PairKey

# How a pair ends: with masks, or in one of the ways to fail.
FAILURES = ("missing", "corrupt", "short_read", "bad_row", "oom", "timeout", "crash", "nan")
STATUSES = ("ok", *FAILURES)

_USER = re.compile(r"(?<=\w://)[^/\s'\"]*@")
_QUERY = re.compile(r"(\w://[^\s?'\"]*\?)[^\s'\"]+")


def without_secrets(text: str) -> str:
    """`text` with *** for what URIs in it carry between :// and @, and behind ?: keys, signatures, tokens."""
    return _QUERY.sub(r"\1***", _USER.sub("***@", text))


class RvosError(Exception):
    """Base of every error that is shown without a traceback, and without the secrets of a URI."""

    exit_code = 1

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class InputError(RvosError):
    """Wrong use or bad input, found before work starts. The text names the file, the row and the way out."""

    exit_code = 2


class InfrastructureError(RvosError):
    """Storage, cluster or device did not do its part, and repeating the command may help."""

    exit_code = 3


class StorageError(InfrastructureError, OSError):
    """The storage as a whole fails: no answer after all retries, keys refused, disk full. No file is to blame."""


class MediaError(RvosError):
    """A video cannot be read as asked.

    `status` is one of STATUSES (missing, corrupt, short_read, bad_row), `reason` says what is wrong
    and what to do, `frame` is the name or index of the frame concerned, or None.
    """

    def __init__(self, status: str, reason: str, frame: str | int | None = None):
        super().__init__(status, reason, frame)
        self.status = status
        self.reason = reason
        self.frame = frame

    def __str__(self) -> str:
        return without_secrets(self.reason if self.frame is None else f"frame {self.frame}: {self.reason}")


def pair_message(video_id: str, expression_id: str, error: object) -> str:
    """The text of an error row: which pair, then what happened."""
    return f"{PairKey(video_id, expression_id)}: {without_secrets(str(error))}"
