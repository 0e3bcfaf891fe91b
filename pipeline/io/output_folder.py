"""Decide if a command may write into a folder, so that it never touches files that it did not make.

A command may fill a new or empty folder, or one that it made before from the same inputs. A marker file in the folder
identifies the command: run.json of a run, train.json of a training, and so on. Exports, selections and benchmarks have
DOCUMENT, which records their inputs and becomes `complete` once every file is written. Hidden files, such as `.git`,
count too. An export or a selection that fails leaves nothing; one that is interrupted or killed leaves an incomplete
folder, which the same command fills again.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

from pipeline.io import local, storage
from pipeline.io.own_file import is_foreign
from schemas.errors import InputError
from schemas.json_text import parse_object
from schemas.shown import shown_json

DOCUMENT = "_export.json"
HASH = re.compile("[0-9a-f]{32,64}")
PROGRESS = ("complete", "counts", "attempt")  # keys of DOCUMENT that are not inputs


def require_folder(folder: str) -> None:
    """Raise InputError if `folder` or one of its parents is a file. In an object store, a name can be both."""
    if storage.is_remote(folder):
        return
    while not storage.exists(folder):
        folder = storage.parent(folder)
    if not storage.is_folder(folder):
        raise InputError(f"{folder} is a file; name a folder")


def require_outside(out: str, source: str) -> None:
    """Raise InputError if `out` is inside the folder `source`, which a command reads and must not change."""
    if f"{out}/".startswith(f"{source}/"):
        raise InputError(f"{out} is inside {source}, which must not change; choose a path outside it")


def require_empty(out: str) -> None:
    """Raise InputError unless the folder `out` is new or empty."""
    require_folder(out)
    if found := storage.names(out, missing_ok=True, hidden=True):
        raise InputError(f"{out} is not empty (it holds {found[0]}); choose a new or empty folder")


@contextlib.contextmanager
def new(out: str) -> Iterator[None]:
    """Fill the folder `out`, which must be new or empty, in this block. If the block fails, it is so again."""
    require_empty(out)
    with without_new_folders(out):
        try:
            yield
        except Exception:
            if storage.names(out, missing_ok=True, hidden=True):
                _clear(out)
            raise


def has_marker(out: str, marker: str, leftovers: Sequence[str] = ()) -> bool:
    """Return True if the folder `out` holds the file `marker`, False if it is new or empty.

    `leftovers` are file name patterns such as `*.parquet`: a folder that holds only such files counts as empty, since
    an interrupted command of the same kind left them. Raises InputError if `out` is a file or holds other files, such
    as one of another program with the name of the marker, or links to folders elsewhere.
    """
    require_folder(out)
    uri = storage.join(out, marker)
    if storage.exists(uri):  # a listing of a large folder takes longer
        if is_foreign(uri):
            raise InputError(f"{uri} is of another program; choose a new or empty folder")
        _require_inside(out)
        return True
    found = storage.names(out, missing_ok=True, hidden=True)
    for name in found if marker not in found else ():
        if storage.exists(uri):  # another process was faster
            return True
        if not any(fnmatch(name, pattern) for pattern in leftovers):
            raise InputError(f"{out} is not empty and has no {marker} (it holds {name}); choose a new or empty folder")
    return marker in found


def _require_inside(out: str) -> None:
    """Raise InputError if a link below `out`, which others may have made, leads to a folder outside of it."""
    if not storage.is_remote(out) and (link := next(local.links_out(out), None)):
        raise InputError(
            f"{link} is a link to a folder outside of {out}, where nothing may be written; replace it by a folder, or "
            "choose a new folder"
        )


def differences(before: dict, now: dict) -> str:
    """List the options that differ: "window: '36', now '12'"."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name}: {_short(before.get(name))}, now {_short(now.get(name))}" for name in names)


def _short(value: object) -> str:
    """Return a value as text; of a hash only its first digits."""
    return f"{value[:8]}..." if isinstance(value, str) and HASH.fullmatch(value) else repr(value)


@contextlib.contextmanager
def filling(out: str, inputs: dict) -> Iterator[dict]:
    """Fill `out` in this block; see `claim` and `finish`. Yields a dict, to which the block adds the counts.

    If the block fails, `out` is as empty as before, or not there. If `out` had files of an earlier export before, or
    another process has claimed it since, the files stay and `out` is incomplete.
    """
    attempt, counts = uuid.uuid4().hex, {}
    with without_new_folders(out):
        was_empty = _claim(out, inputs, {"attempt": attempt})
        try:
            yield counts
            finish(out, inputs, counts)
        except Exception:  # not an interruption, after which the same command goes on
            if was_empty and _document(out).get("attempt") == attempt:
                _clear(out)
            raise


@contextlib.contextmanager
def without_new_folders(folder: str) -> Iterator[None]:
    """If this block fails, remove `folder` and those above it that did not exist before, as far as they are empty."""
    new: list[str] = []
    while not storage.is_remote(folder) and not storage.exists(folder):
        new.append(folder)
        folder = storage.parent(folder)
    try:
        yield
    except BaseException:
        for each in new:
            storage.remove_if_empty(each)
        raise


@contextlib.contextmanager
def claimed(out: str, inputs: dict) -> Iterator[None]:
    """Fill `out` in this block, in steps that may be repeated; see `claim` and `finish`.

    If the block fails or is interrupted before it has written anything, `out` is as empty as before, or not there.
    """
    with without_new_folders(out):
        claim(out, inputs)
        try:
            yield
        except BaseException:
            if storage.names(out, missing_ok=True, hidden=True) == [DOCUMENT]:
                _clear(out)
            raise


def claim(out: str, inputs: dict) -> None:
    """Start to fill `out`. `inputs` decide the content of its files, and are recorded in DOCUMENT.

    A folder that holds nothing but the DOCUMENT of an export that failed counts as empty. Raises InputError if `out`
    is a file, holds files of others, or was made from other inputs.
    """
    _claim(out, inputs, {})


def finish(out: str, inputs: dict, counts: dict) -> None:
    """Record that every file of `out` is written."""
    _write(out, inputs | {"complete": True, "counts": counts})


def _claim(out: str, inputs: dict, attempt: dict) -> bool:
    """Claim `out` as `claim`. Returns True if it was new or empty."""
    inputs, is_empty = json.loads(shown_json(inputs)), True
    if has_marker(out, DOCUMENT):
        try:
            document = _document(out)
        except (ValueError, TypeError):
            raise InputError(f"{storage.join(out, DOCUMENT)} is damaged; choose a new folder") from None
        is_empty = document.get("complete") is False and storage.names(out, hidden=True) == [DOCUMENT]
        before = {name: value for name, value in document.items() if name not in PROGRESS}
        if not is_empty and before != inputs:
            reason = differences(before, inputs)
            raise InputError(f"{out} was made with different options ({reason}); choose a new folder")
    _write(out, inputs | attempt | {"complete": False})
    return is_empty


def _document(out: str) -> dict:
    """Return DOCUMENT, or an empty dict if another process removed it."""
    try:
        return dict(parse_object(storage.read_bytes(storage.join(out, DOCUMENT), limit=1_000_000)))
    except FileNotFoundError:
        return {}


def _clear(out: str) -> None:
    """Remove all that `out` holds, DOCUMENT last."""
    for name in storage.names(out, hidden=True):
        if name != DOCUMENT:
            path = storage.join(out, name)
            (storage.remove_folder if storage.is_folder(path) else storage.remove)(path)
    storage.remove(storage.join(out, DOCUMENT))
    storage.remove_parts(out)


def _write(out: str, document: dict) -> None:
    storage.write_bytes(storage.join(out, DOCUMENT), f"{shown_json(document, allow_nan=False)}\n".encode())
