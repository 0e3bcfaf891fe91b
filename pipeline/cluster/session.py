"""The one place that talks to a Ray cluster: start or join it, quietly, and leave it again."""

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping

from schemas.errors import InfrastructureError, InputError

OBJECT_STORE_BYTES = 200_000_000  # receipts only; frames and masks never enter it
STORAGE_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray's job server for the commands that it starts
START_TRIES = 3
REACH_SECONDS = 10
WORKERS = {"OMP_WAIT_POLICY": "PASSIVE"}  # torch's threads share the cores with decoding; waiting must not spin
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_NON_TTY_PROGRESS_LOG_INTERVAL": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about CUDA_VISIBLE_DEVICES of actors without GPU
}


@contextlib.contextmanager
def connect_to_ray(address: str) -> Iterator[Mapping[str, float]]:
    """A Ray session at `address` ("local": a fresh one on this machine, "auto", or HOST:PORT); yields its resources.

    A session that the process has already is used and left running. Raises InfrastructureError if none comes up.
    """
    for name, value in {**QUIET, **WORKERS}.items():
        os.environ.setdefault(name, value)
    if address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nothing but loopback can reach it
    import ray
    import ray.data  # sets up its own logging when imported, so it comes before the next lines

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    with tempfile.TemporaryDirectory(prefix="rvos-") as empty, _native_stderr_closed():
        _start(address, empty)
        try:
            yield ray.cluster_resources()
        finally:
            ray.shutdown()


def _start(address: str, empty_folder: str) -> None:
    import ray

    _require_reachable(address)
    options: dict = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if SUBMITTED not in os.environ:  # else the job has its runtime_env, and Ray refuses a second one
        # With a working_dir, workers do not put the caller's folder on their path, where a stray `model/` could lie.
        options["runtime_env"] = {
            "working_dir": empty_folder,
            "env_vars": {**WORKERS, **storage_settings()},
            "worker_process_setup_hook": "refervos.use_own_modules",
        }
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for tries_left in reversed(range(START_TRIES)):
        try:
            ray.init(**options)
            break
        except ValueError as error:
            raise InputError(f"--address {address}: {error}") from None
        except Exception as error:  # of no type of its own if the machine is too busy to start it within 30 s
            ray.shutdown()
            if address != "local" or not tries_left:
                raise InfrastructureError(f"no Ray cluster at --address {address}: {error}") from None
    for number, handler in handlers.items():  # Ray sets its own for SIGTERM
        signal.signal(number, handler)


def _require_reachable(address: str) -> None:
    """Whether somebody listens at HOST:PORT; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "local", "auto"; Ray tells what else is no address
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InfrastructureError(f"no Ray cluster at --address {address}: {error}") from None


@contextlib.contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Drop what Ray's C++ side writes to file descriptor 2, past all Python logging; Python's own stderr stays."""
    python_stderr = sys.stderr
    if not _is_descriptor_2(python_stderr):
        yield
        return
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere, os.fdopen(saved, "w", buffering=1) as sys.stderr:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            sys.stderr = python_stderr


def _is_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # pyright: ignore[reportAttributeAccessIssue]
    except (AttributeError, OSError, ValueError):
        return False


def storage_settings() -> dict[str, str]:
    """Where this process finds its storage, for the workers on other nodes. Keys do not travel with it.

    A cluster shows what is passed on in its dashboard and logs; nodes have a role, or keys in their own environment.
    """
    return {name: os.environ[name] for name in STORAGE_SETTINGS if name in os.environ}
