"""Unwrap the error of a worker from those of Ray, and describe it in one line."""

import re

from schemas.errors import RvosError

# Lines about settings of Ray.
RAY_ADVICE = re.compile(r"^[ \t]*(To change retry attempts|Failed to apply UDF).*\n?", re.MULTILINE)


def find_own_error(error: BaseException) -> RvosError | None:
    """Return the error of this project that a worker raised, without Ray's advice; None if it raised another one."""
    for wrapped in _wrapped_errors(error):
        if isinstance(wrapped, RvosError):
            wrapped.args = (RAY_ADVICE.sub("", str(wrapped)).rstrip("\n"),)
            return wrapped
    return None


def describe_cause(error: BaseException) -> str:
    """Describe in one line the error that a worker or Ray itself raised."""
    cause, *_ = _wrapped_errors(error)
    if not str(cause).strip():  # Ray's SystemException is an empty cause; the error around it has the text
        cause = error
    lines = [line.strip() for line in RAY_ADVICE.sub("", str(cause)).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("schemas.errors.")]
    if ours:
        return ours[-1].partition(": ")[2]
    return f"{type(cause).__name__}: {lines[-1]}" if lines else type(cause).__name__


def _wrapped_errors(error: BaseException) -> list[BaseException]:
    """Return the causes, then the errors around them.

    Ray Train collects the errors of workers in `worker_failures`, and keeps that of a callback in `controller_failure`.
    """
    failures = list((getattr(error, "worker_failures", None) or {}).values())
    failures = failures or [getattr(error, "controller_failure", None) or error]
    return [getattr(failure, "cause", None) or failure.__cause__ or failure for failure in failures] + failures
