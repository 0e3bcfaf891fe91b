"""The record of one invocation: RUN/log/<invocation>.json, written at its start and at its end, however that comes.

A killed invocation leaves the record of its start.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.io import process, storage
from pipeline.io.parallel import bounded_map
from pipeline.runs.hints import read_hint
from pipeline.runs.run import Run
from schemas.shown import without_secrets

READERS = 32  # of records in parallel


@contextlib.contextmanager
def invocation_log(run: Run, name: str, document: dict) -> Iterator[dict]:
    """Write `document` to the log, and again at the end: with the entries that were added, or with the error."""
    document = {"state": "running", "began": _now(), **_here(), "pid": os.getpid(), "plan": run.parts(), **document}
    run.write_log(name, document)
    try:
        yield document
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        document |= {"state": state, "ended": _now(), "error": without_secrets(_reason(error))}
        with contextlib.suppress(Exception):  # the first error is the one to report
            run.write_log(name, document)
        raise
    run.write_log(name, document | {"state": "done", "ended": _now()})


def _here() -> dict[str, str]:
    """Return where a process id is valid: containers may share the name of their host, but not its processes."""
    return {"host": socket.gethostname(), "pid_namespace": process.pid_namespace()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _reason(error: BaseException) -> str:
    """Return why an invocation ended, in words: Ctrl-C and exits carry none or a number."""
    text = str(error)
    if isinstance(error, KeyboardInterrupt):
        return text or "interrupted"
    if isinstance(error, SystemExit):
        return f"ended with exit code {text}"
    return text or type(error).__name__


def logged_parts(run: Run) -> set[int]:
    """Return the numbers of the plan parts that records name."""
    found: set[int] = set()
    for record in _records(run):
        with contextlib.suppress(TypeError):  # a hint only
            found.update(record.get("plan", ()))
    return found


def latest_state(run: Run) -> str | None:
    """Return "running" while an invocation may be at work, else the state in which the last one ended.

    That is done, failed or interrupted; or stopped, if it was killed on this host. None without records.
    """
    records = list(_records(run))
    if any(record.get("state") == "running" and not _was_killed(record) for record in records):
        return "running"
    if not records:
        return None
    last = max(records, key=lambda record: str(record.get("ended") or record.get("began") or ""))
    return "stopped" if last.get("state") == "running" else str(last.get("state"))


def _was_killed(record: dict) -> bool:
    """Return True if a record of a start is of this host, where its process has gone."""
    pid = record.get("pid")
    return _here().items() <= record.items() and isinstance(pid, int) and not process.runs(pid)


def _records(run: Run) -> Iterator[dict]:
    """Yield the records of a run in the order of their starts, except damaged ones."""
    folder = storage.join(run.folder, "log")
    uris = [storage.join(folder, name) for name in sorted(storage.names(folder, missing_ok=True))]
    for record in bounded_map(_record, uris, READERS):
        if record is not None:
            yield record


def _record(uri: str) -> dict | None:
    try:
        return read_hint(uri, limit=10_000_000)
    except ValueError:
        return None
