"""Replace what an earlier command wrote to a folder, and put it back if the new command fails."""

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator

from pipeline.io import local, storage
from schemas.errors import InputError

EARLIER = ".earlier"  # folder in the output folder that holds the earlier result while a command works


@contextlib.contextmanager
def replacing(out: str, names: Collection[str], marker: str) -> Iterator[None]:
    """Move the files and folders `names` out of the way in this block; an error in it puts them back.

    A result that a killed command moved away is put back first. On object stores, which cannot rename, the earlier
    result is removed. `marker` is a file in `out`, locked meanwhile. Raises InputError if another command holds it.
    """
    if storage.is_remote(out):
        _remove(out, names)
        yield
        return
    earlier = storage.join(out, EARLIER)
    with _locked(out, marker):
        _put_back(out, earlier)
        os.mkdir(earlier)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.rename(storage.join(out, name), storage.join(earlier, name))
        try:
            yield
        except BaseException:  # Ctrl-C too
            if os.listdir(earlier):
                _remove(out, names)
            _put_back(out, earlier)
            raise
        storage.remove_folder(earlier)


@contextlib.contextmanager
def _locked(out: str, marker: str) -> Iterator[None]:
    """Lock `marker` in this block, where the file system can. Raises InputError if another command holds it."""
    with open(storage.join(out, marker), "r+b", opener=local.open_own) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another command writes to {out}; wait until it ends, or choose another --out") from None
        except OSError:  # a file system without locks
            pass
        yield


def _put_back(out: str, earlier: str) -> None:
    """Move what is in `earlier`, if that exists, back to `out`, and remove `earlier`."""
    with contextlib.suppress(FileNotFoundError):
        held = os.listdir(earlier)
        _remove(out, held)
        for name in held:
            os.rename(storage.join(earlier, name), storage.join(out, name))
        os.rmdir(earlier)


def _remove(out: str, names: Collection[str]) -> None:
    for name in names:
        uri = storage.join(out, name)
        (storage.remove_folder if storage.is_folder(uri) else storage.remove)(uri)
