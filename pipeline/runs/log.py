"""The record of one invocation: RUN/log/<invocation>.json, written at its start and at its end, however that comes.

A killed invocation leaves the record of its start.
"""

import contextlib
from collections.abc import Iterator

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.runs.run import Run
from schemas.json_text import parse_object
from schemas.shown import without_secrets

READERS = 32  # of records in parallel


@contextlib.contextmanager
def invocation_log(run: Run, name: str, document: dict) -> Iterator[dict]:
    """Write `document` to the log, and again at the end: with the entries that were added, or with the error."""
    document = {"state": "running", "plan": run.parts(), **document}
    run.write_log(name, document)
    try:
        yield document
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        document |= {"state": state, "error": without_secrets(str(error) or type(error).__name__)}
        with contextlib.suppress(Exception):  # the first error is the one to report
            run.write_log(name, document)
        raise
    run.write_log(name, document | {"state": "done"})


def logged_parts(run: Run) -> set[int]:
    """Return the numbers of the plan parts that records name."""
    found: set[int] = set()
    for record in _records(run):
        with contextlib.suppress(TypeError):  # a hint only
            found.update(record.get("plan", ()))
    return found


def all_have_ended(run: Run) -> bool:
    """Return True if there are records, and all of them are of an end."""
    states = [record.get("state") for record in _records(run)]
    return bool(states) and "running" not in states


def _records(run: Run) -> Iterator[dict]:
    """Yield the records of a run, except damaged ones."""
    folder = storage.join(run.folder, "log")
    uris = [storage.join(folder, name) for name in storage.names(folder, missing_ok=True)]
    for text in bounded_map(lambda uri: storage.read_bytes(uri, limit=10_000_000), uris, READERS):
        with contextlib.suppress(ValueError):
            yield parse_object(text)
