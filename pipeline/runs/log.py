"""The record of one invocation: RUN/log/<invocation>.json, written at its start and at its end, however that comes."""

import contextlib
from collections.abc import Iterator

from pipeline.runs.run import Run
from schemas.shown import without_secrets


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
