"""A folder that an export fills: nobody else's files are touched, and it says of itself when it is complete.

OUT/_export.json says what made it, and `complete` once everything is there.
"""

import json

from pipeline.io import storage
from schemas.errors import InputError

DOCUMENT = "_export.json"
STATE = ("complete", "counts")  # in it, beside what decides the files


def claim(out: str, made_of: dict) -> None:
    """Begin to fill `out`, a new or empty folder, or one that the same export began or filled before.

    Empty is also one that holds only the word of an export that was refused. `made_of` is what decides the files.
    Raises InputError if the folder holds anything else, or is a file.
    """
    storage.require_folder(out)
    there = storage.names(out) if storage.is_folder(out) else []
    found = _read(out) if DOCUMENT in there else {}
    refused = there == [DOCUMENT] and found.get("complete") is False
    if there and not refused and {name: found[name] for name in found if name not in STATE} != made_of:
        what = "what another export made" if DOCUMENT in there else f"something else ({there[0]})"
        raise InputError(f"{out} holds {what}; name a new folder")
    _write(out, made_of | {"complete": False})


def finish(out: str, made_of: dict, counts: dict) -> None:
    """Everything is there."""
    _write(out, made_of | {"complete": True, "counts": counts})


def _read(out: str) -> dict:
    """The document; empty if it is none."""
    try:
        document = json.loads(storage.read_bytes(storage.join(out, DOCUMENT), limit=1_000_000))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _write(out: str, document: dict) -> None:
    storage.write_bytes(storage.join(out, DOCUMENT), (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
