"""Decide if a command may replace a file, so that it never loses the result of other inputs."""

from pipeline.io import storage
from schemas.errors import InputError

BLOCK = 2**20  # bytes compared at a time
MAX_PAGE = 2**28  # bytes of a page or table


def commit_same(path: str, uri: str) -> None:
    """Make the spooled file `path` the content of `uri`. Raises InputError if `uri` is a file with other content."""
    if storage.commit(path, uri):
        return
    if storage.size(uri) == 0:
        storage.commit(path, uri, replace=True)
    elif not _is_same(path, uri):
        raise InputError(f"{uri} exists and has other content; remove it, or name a new file")


def replace_own(uri: str, content: bytes, made_of: str) -> None:
    """Write `content`. Raises InputError as `require_own`."""
    require_own(uri, made_of)
    storage.write_bytes(uri, content)


def require_own(uri: str, made_of: str) -> None:
    """Raise InputError if `uri` is a file that was made of something else.

    made_of: a line of the content that says what it was made of.
    """
    try:
        before = storage.read_bytes(uri, limit=MAX_PAGE)
    except FileNotFoundError:
        before = b""
    if before and made_of.encode() not in before.splitlines():
        raise InputError(f"{uri} exists and was not made of the same; remove it, or choose another path")


def _is_same(path: str, uri: str) -> bool:
    with storage.open_input(path) as ours, storage.open_input(uri) as theirs:
        while block := ours.read(BLOCK):
            if theirs.read(len(block)) != block:
                return False
        return not theirs.read(1)
