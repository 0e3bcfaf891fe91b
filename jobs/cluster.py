"""The one place that talks to a Ray cluster: start or join it, quietly, and leave it again."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator

from schemas.errors import InfrastructureError, InputError

OBJECT_STORE_BYTES = 200_000_000  # receipts only; frames and masks never enter it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_NON_TTY_PROGRESS_LOG_INTERVAL": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


@contextlib.contextmanager
def session(address: str) -> Iterator[dict[str, float]]:
    """A Ray session at `address` ("local": a fresh one on this machine, "auto", or HOST:PORT); yields its resources.

    A session that the process has already is used and left running. Raises InfrastructureError if none comes up.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nothing but loopback can reach it
    import ray

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    with tempfile.TemporaryDirectory(prefix="rvos-") as empty:
        _start(address, empty)
        try:
            yield ray.cluster_resources()
        finally:
            ray.shutdown()


def _start(address: str, empty_folder: str) -> None:
    import ray

    options: dict = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    # With a working_dir, workers do not put the caller's folder on their path, where a stray `model/` could lie.
    options["runtime_env"] = {"working_dir": empty_folder, "env_vars": _storage_environment()}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(**options)
    except ValueError as error:
        raise InputError(f"--address {address}: {error}") from None
    except (ConnectionError, RuntimeError, OSError, TimeoutError) as error:
        raise InfrastructureError(f"no Ray cluster at --address {address}: {error}") from None


def _storage_environment() -> dict[str, str]:
    """AWS settings of this process; workers on other nodes need them to reach the same storage."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
