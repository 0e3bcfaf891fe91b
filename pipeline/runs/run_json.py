"""run.json, which makes a folder a run. Another program may have written or damaged it."""

from pipeline.io import local, storage
from pipeline.io.own_file import is_foreign
from schemas.errors import InputError
from schemas.json_text import parse_object
from schemas.uri import ARCHIVES, HTTP, scheme_of

RUN_JSON = "run.json"
_FIELDS = {"fingerprint": str, "run_id": str, "decides": dict, "config": dict, "storage": dict}


def is_run(folder: str) -> bool:
    """Return True if `folder` holds a run. Servers of HTTP and archives have no folders."""
    uri = storage.join(folder, RUN_JSON)
    return scheme_of(folder) not in (*HTTP, *ARCHIVES) and storage.exists(uri) and not is_foreign(uri)


def read_run_json(folder: str) -> dict:
    """Read run.json. Raises InputError if it is missing or damaged."""
    uri = storage.join(folder, RUN_JSON)
    try:
        document = parse_object(storage.read_bytes(uri, limit=10_000_000))
    except FileNotFoundError:
        raise InputError(f"{folder} is not a run: it has no run.json") from None
    except (ValueError, OSError) as error:
        local.raise_machine_failure(error, uri)
        raise InputError(f"cannot read {uri}: {error}; restore it, or segment into a new folder") from None
    if problem := _problem(document):
        raise InputError(f"{uri} is damaged ({problem}); restore it, or segment into a new folder")
    return document


def _problem(document: dict) -> str | None:
    """Return the field of run.json that cannot be used, or None. All but the fingerprint may be missing."""
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name, kind()), kind):
            return name
    for name in ("decides", "config"):
        step = document.get(name, {}).get("frame_step", 1)
        if type(step) is not int or step < 1:
            return f"frame_step of {name}"
    if not isinstance(document.get("retried_with", []), list):
        return "retried_with"
    missing = document.get("storage", {}).get("missing") or []
    if not isinstance(missing, list) or not all(isinstance(text, str) for text in missing):
        return "storage"
    return None if document.get("fingerprint") else "fingerprint"
