"""Decide if a command may write into a folder, so that it never touches files that it did not make.

A command may fill a new or empty folder, or one that it made before from the same inputs. A marker file in the folder
identifies the command: run.json of a run, train.json of a training, and so on. Exports, selections and benchmarks have
DOCUMENT, which records their inputs and becomes `complete` once every file is written. Hidden files, such as `.git`,
count too.
"""

import json
import re
from collections.abc import Sequence
from fnmatch import fnmatch

from pipeline.io import storage
from schemas.errors import InputError
from schemas.json_text import parse_object
from schemas.shown import shown_json

DOCUMENT = "_export.json"
HASH = re.compile("[0-9a-f]{32,64}")
PROGRESS = ("complete", "counts")  # keys of DOCUMENT that are not inputs


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


def has_marker(out: str, marker: str, leftovers: Sequence[str] = ()) -> bool:
    """Return True if the folder `out` holds the file `marker`, False if it is new or empty.

    `leftovers` are file name patterns such as `*.parquet`: a folder that holds only such files counts as empty, since
    an interrupted command of the same kind left them. Raises InputError if `out` is a file or holds other files.
    """
    require_folder(out)
    if storage.exists(storage.join(out, marker)):  # a listing of a large folder takes longer
        return True
    found = storage.names(out, missing_ok=True, hidden=True)
    for name in found if marker not in found else ():
        if storage.exists(storage.join(out, marker)):  # another process was faster
            return True
        if not any(fnmatch(name, pattern) for pattern in leftovers):
            raise InputError(f"{out} is not empty and has no {marker} (it holds {name}); choose a new or empty folder")
    return marker in found


def differences(before: dict, now: dict) -> str:
    """List the options that differ: "window: '36', now '12'"."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name}: {_short(before.get(name))}, now {_short(now.get(name))}" for name in names)


def _short(value: object) -> str:
    """Return a value as text; of a hash only its first digits."""
    return f"{value[:8]}..." if isinstance(value, str) and HASH.fullmatch(value) else repr(value)


def claim(out: str, inputs: dict) -> None:
    """Start to fill `out`. `inputs` decide the content of its files, and are recorded in DOCUMENT.

    A folder that holds nothing but the DOCUMENT of an export that failed counts as empty. Raises InputError if `out`
    is a file, holds files of others, or was made from other inputs.
    """
    inputs = json.loads(shown_json(inputs))
    if has_marker(out, DOCUMENT):
        try:
            document = dict(parse_object(storage.read_bytes(storage.join(out, DOCUMENT), limit=1_000_000)))
        except (ValueError, TypeError):
            raise InputError(f"{storage.join(out, DOCUMENT)} is damaged; choose a new folder") from None
        failed = document.get("complete") is False and storage.names(out, hidden=True) == [DOCUMENT]
        before = {name: value for name, value in document.items() if name not in PROGRESS}
        if not failed and before != inputs:
            reason = differences(before, inputs)
            raise InputError(f"{out} was made with different options ({reason}); choose a new folder")
    _write(out, inputs | {"complete": False})


def finish(out: str, inputs: dict, counts: dict) -> None:
    """Record that every file of `out` is written."""
    _write(out, inputs | {"complete": True, "counts": counts})


def _write(out: str, document: dict) -> None:
    storage.write_bytes(storage.join(out, DOCUMENT), f"{shown_json(document, allow_nan=False)}\n".encode())
