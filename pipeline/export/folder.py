"""A folder that an export fills: nobody else's files are touched, and it says of itself when it is complete.

OUT/_export.json says what made it, and `complete` once everything is there.
"""

import json

from pipeline import storage
from schemas.errors import InputError

DOCUMENT = "_export.json"


def claim(out: str, made_of: dict) -> None:
    """Begin to fill `out`, a new or empty folder, or one that the same export began or filled before.

    `made_of` is what decides the files. Raises InputError if the folder holds anything else.
    """
    there = storage.names(out) if storage.is_folder(out) else []
    if there and (DOCUMENT not in there or _read(out) != made_of):
        what = "what another export made" if DOCUMENT in there else f"something else ({there[0]})"
        raise InputError(f"{out} holds {what}; name a new folder")
    _write(out, made_of | {"complete": False})


def finish(out: str, made_of: dict, counts: dict) -> None:
    """Everything is there."""
    _write(out, made_of | {"complete": True, "counts": counts})


def _read(out: str) -> dict | None:
    try:
        document = json.loads(storage.read_bytes(storage.join(out, DOCUMENT), limit=1_000_000))
        return {name: value for name, value in document.items() if name not in ("complete", "counts")}
    except (ValueError, AttributeError):
        return None


def _write(out: str, document: dict) -> None:
    storage.write_bytes(storage.join(out, DOCUMENT), (json.dumps(document, indent=2) + "\n").encode())
