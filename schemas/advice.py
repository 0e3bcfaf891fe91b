"""Ways out that error rows of a run name, and other words for them: in Python, without a run, in refined runs."""

from typing import NamedTuple


class Advice(NamedTuple):
    """The end of a message: in an error row of a run, for `import refervos`, in commands that have no --retry-errors,
    and in a run of `rvos refine`, which takes the frames of its source (None: as in `run`)."""

    run: str
    python: str
    outside: str
    refined: str | None = None


FEWER_ACTORS = "use --retry-errors with a higher --gpus-per-actor (on CPUs: fewer --actors)"
REPLACE = "replace the file, and use --retry-errors"
MISSING = Advice(
    "copy the file there, or correct video_uri, and use --retry-errors",
    "copy the file there, or correct the path",
    "copy the file there, or correct its path",
    "copy the file there, or give the command that made RUN its present place ('rvos segment --rebase OLD=NEW', or "
    "'rvos import masks' with a corrected manifest), and use --retry-errors",
)
SHORT = Advice(
    "replace the file, or take the decoded frames with --retry-errors --allow-short",
    "replace the file, or pass its decoded frames",
    "replace the file, or take the decoded frames with 'rvos segment --allow-short'",
    REPLACE,
)
DECORD_SHORT = Advice(
    "replace the file, or use the frames that PyAV decodes with --retry-errors --decoder pyav --allow-short",
    'replace the file, or use decoder="pyav"',
    "replace the file, or use --decoder pyav",
    REPLACE,
)
DECORD = Advice("use --retry-errors --decoder pyav", 'use decoder="pyav"', "use --decoder pyav", REPLACE)
SIZE = Advice(
    "use --retry-errors with another --short-side or --max-size",
    "load the model with another short_side or max_size",
    "use 'rvos segment' with another --short-side or --max-size",
    REPLACE,
)
WHOLE = Advice(
    "use --retry-errors with a higher --max-whole-frames if memory allows, or with --window 36",
    "use window=36",
    "use 'rvos segment' with a higher --max-whole-frames if memory allows, or with --window 36",
    REPLACE,
)
MEMORY = Advice(
    "use --retry-errors with a higher --gpus-per-actor (on CPUs: fewer --actors), or with a smaller --window or "
    "--short-side",
    "use a smaller window, or load the model with a smaller short_side",
    "use 'rvos segment' with a smaller --window or --short-side",
    FEWER_ACTORS,
)
FOLLOWER_MEMORY = Advice(  # of a model whose input and windows are what they are
    FEWER_ACTORS,
    "pass fewer expressions at once, or use a device with more memory",
    "use 'rvos segment' with a higher --gpus-per-actor (on CPUs: fewer --actors)",
)
FOLLOWER_NOT_FINITE = Advice(
    "use --retry-errors --device cpu; if that does not help, take another checkpoint",
    'load the model with device="cpu"; if that does not help, take another checkpoint',
    "use --device cpu; if that does not help, take another checkpoint",
)
NOT_FINITE = Advice(
    "check the checkpoint, or use --retry-errors with another --window",
    "check the checkpoint, or use another window",
    "check the checkpoint, or use 'rvos segment' with another --window",
)
ALL = (MISSING, SHORT, DECORD_SHORT, DECORD, SIZE, WHOLE, MEMORY, FOLLOWER_MEMORY, NOT_FINITE, FOLLOWER_NOT_FINITE)


def for_python(message: str) -> str:
    """Return the message of an error row with advice for `import refervos`."""
    for advice in ALL:
        message = message.replace(advice.run, advice.python)
    return message


def outside_a_run(message: str) -> str:
    """Return the message of an error row with advice for commands that have no --retry-errors."""
    for advice in ALL:
        message = message.replace(advice.run, advice.outside)
    return message


def for_refined(message: str) -> str:
    """Return the message of an error row with advice for a run of `rvos refine`."""
    for advice in ALL:
        message = message.replace(advice.run, advice.refined or advice.run)
    return message
