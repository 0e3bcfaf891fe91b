"""Read small documents of a run that are hints only: what is damaged, or was put there by others, stops no command."""

from typing import Any

from pipeline.io import local, storage
from schemas.json_text import parse_object


def read_hint(uri: str, limit: int) -> dict[str, Any]:
    """Return the JSON object in a file of at most `limit` bytes.

    Raises ValueError if `uri` is anything else, such as a folder or a pipe; FileNotFoundError, and StorageError.
    """
    try:
        return parse_object(storage.read_bytes(uri, limit=limit))
    except FileNotFoundError:
        raise
    except OSError as error:
        local.raise_machine_failure(error, uri)
        raise ValueError(f"cannot read {uri}: {error}") from None
