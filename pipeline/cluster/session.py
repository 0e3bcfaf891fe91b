"""Start or join a Ray cluster, and leave it again. The only place that does."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from pipeline.io import local
from pipeline.io.private_folder import is_in_use, private_folder
from schemas.errors import InfrastructureError, InputError
from schemas.uri import parse_address, require_plain_endpoint

OBJECT_STORE_BYTES = 200_000_000  # receipts only; frames and masks never enter it
STORAGE_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's job server sets it for the commands that it starts
START_TRIES = 3
MAX_FOLDER_BYTES = 30  # of TMPDIR: Ray adds about 75 to it, and a path of a socket may have 107
REACH_SECONDS = 10
RAY_THREADS = ("StreamingExecutor", "iter_threaded", "ray-data", "patience")  # of Ray Data and ours that ask Ray
PROMPT_SECONDS = 2.0  # in which they end, unless they wait for an actor that does not start
THREAD_SECONDS = 20.0  # that they take on a busy machine
CLOSE_SECONDS = 10.0  # that Ray's processes take to end
OWN_FOLDER = str(Path(__file__).resolve().parents[2])
SETUP_HOOK = "refervos.use_own_modules"  # Ray calls it in each worker
# torch's waiting threads spin briefly, since they wake up slowly, but must not take cores from decoding.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "500"}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_NON_TTY_PROGRESS_LOG_INTERVAL": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about CUDA_VISIBLE_DEVICES for actors without GPU
}


def let_threads_sleep() -> None:
    """Have torch's waiting threads sleep, here and in the workers of this process. Call it before torch is imported."""
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def connect_to_ray(address: str) -> Iterator[Mapping[str, float]]:
    """Connect to the Ray cluster at `address` and yield its resources; "local" starts a new one on this machine.

    Other addresses are "auto" and HOST:PORT. A session that this process already has is used, and left running. Raises
    InfrastructureError if the cluster does not start or answer, InputError for an endpoint or address with a user name.
    """
    require_plain_endpoint()
    let_threads_sleep()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data  # sets up its logging when imported, which the next lines change

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    _reach(address)
    closed = _doors_closed() if address == "local" else contextlib.nullcontext()
    with _private_folder() as private, _native_stderr_closed(), _stdout_of_ray(), closed:
        empty_folder = os.path.join(private, "empty")
        os.mkdir(empty_folder)
        try:
            if address == "local":
                from pipeline.cluster.local_node import local_node

                with _inherited(empty_folder), local_node():
                    _start(address, _private_session(os.path.join(private, "ray")))
            else:
                _start(address, _worker_settings(empty_folder))
            yield ray.cluster_resources()
        finally:
            _wait_for_threads(is_local=address == "local")
            ray.shutdown()
            _wait_for_users(private)


class _RayOutput:
    """The stream for what Ray prints about its processes. Once `is_ending`, that is about our own end: nobody needs it.

    Ray prints to stdout, where the result of a command goes.
    """

    def __init__(self, stream: TextIO):
        self._stream, self.is_ending = stream, False

    def write(self, text: str) -> int:
        return len(text) if self.is_ending else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _stdout_of_ray() -> Iterator[None]:
    """Send stdout to stderr in this block, until it ends or a signal to stop comes.

    Ending a run kills actors at work, of which Ray says that it will retry their tasks.
    """
    output, handlers = _RayOutput(sys.stderr), {}

    def end(number: int, frame: FrameType | None) -> None:
        output.is_ending = True
        handlers[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        handlers |= {number: handler for number, handler in found.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, end)
    try:
        with contextlib.redirect_stdout(cast(TextIO, output)):
            try:
                yield
            finally:
                output.is_ending = True
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is end:  # else the first signal has changed what the second one does
                signal.signal(number, handler)


def _wait_for_threads(is_local: bool) -> None:
    """Wait until the threads that ask Ray have ended, which a busy machine delays.

    Ray itself waits for 2 s only. A thread that asks for Ray after its shutdown ends the process at once, with exit
    code 1 and without a message. One that waits for an actor of Ray Data would do so for ever if no process can start.
    The actors of a local session are ours to kill, which ends its wait with an error.
    """
    import ray

    deadline = time.monotonic() + THREAD_SECONDS
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(RAY_THREADS)]
    _join(threads, time.monotonic() + PROMPT_SECONDS)
    if is_local and any(thread.is_alive() for thread in threads):
        with contextlib.suppress(Exception):  # of many types, where one has just ended or Ray does not answer
            for found in ray.util.list_named_actors(all_namespaces=True):  # dicts, where Ray's type says str
                ray.kill(ray.get_actor(**cast(Any, found)))
    _join(threads, deadline)


def _join(threads: list[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _wait_for_users(folder: str) -> None:
    """Wait until Ray's processes have left `folder`, at most CLOSE_SECONDS: they end a moment later."""
    deadline = time.monotonic() + CLOSE_SECONDS
    while is_in_use(folder) and time.monotonic() < deadline:
        time.sleep(0.05)


@contextlib.contextmanager
def _doors_closed() -> Iterator[None]:
    """Let the Ray session of this block listen on loopback only, and require a fresh token of every client.

    Whoever reaches a session runs code in it, with the keys of its owner. Ray listens on all interfaces by default.
    """
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config

    doors = {
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # read by the processes that Ray starts
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    before, cluster = {name: os.environ.get(name) for name in doors}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(doors)
    ray_constants.ENABLE_RAY_CLUSTER = False  # this process has read the variable when it imported Ray
    try:
        Config.initialize("")  # Ray keeps the mode and the token that it has read once
        AuthenticationTokenLoader.instance().reset_cache()
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """Yield a temporary folder of this user alone, with a path that is short enough for Ray's sockets in it."""
    folder = local.temp_folder()
    folder = folder if len(os.fsencode(folder)) <= MAX_FOLDER_BYTES else "/tmp"
    with contextlib.ExitStack() as stack:
        try:
            private = stack.enter_context(private_folder(folder))
        except OSError as error:
            raise InfrastructureError(
                f"Ray cannot start: {folder} cannot be written ({error.strerror}); set TMPDIR to a folder that can, "
                f"with a path of at most {MAX_FOLDER_BYTES} bytes, then repeat the command"
            ) from None
        yield private


@contextlib.contextmanager
def _inherited(empty_folder: str) -> Iterator[None]:
    """Let the processes that this block starts import our modules first, and none from the caller's folder.

    A local session needs no `_worker_settings` then, which Ray prepares anew for each worker. The caller's folder may
    hold another `model/`.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([OWN_FOLDER, before] if before else [OWN_FOLDER])
    try:
        with contextlib.chdir(empty_folder):
            yield
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update({"PYTHONPATH": before} if before is not None else {})


def _private_session(folder: str) -> dict:
    """Return options of `ray.init` for a session of this user, with its logs and sockets in a folder of its own.

    By default Ray writes them to /tmp/ray, where all users of the machine may read and write. It counts all cores of
    the machine, also those that Slurm or taskset keep from this process.
    """
    options = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": folder}
    allowed = len(os.sched_getaffinity(0))
    return options | ({"num_cpus": allowed} if allowed < (os.cpu_count() or 1) else {})


def _worker_settings(empty_folder: str) -> dict:
    """Return options of `ray.init` that give the workers of a cluster our modules and this process's storage."""
    if SUBMITTED in os.environ:  # a job has its own runtime_env, and Ray rejects a second one
        return {}
    env_vars = {**THREADS, **storage_settings()}
    return {"runtime_env": {"working_dir": empty_folder, "env_vars": env_vars, "worker_process_setup_hook": SETUP_HOOK}}


def _reach(address: str) -> None:
    """Raise InfrastructureError if nobody answers at `address`, where Ray itself would retry for many minutes."""
    if place := parse_address(address):
        try:
            socket.create_connection(place, REACH_SECONDS).close()
        except (OSError, UnicodeError) as error:  # UnicodeError: of a label with more than 63 characters
            raise InfrastructureError(f"no Ray cluster at --address {address}: {error}") from None


def _start(address: str, options: dict) -> None:
    """Start Ray with these options of `ray.init`. Raises InputError and InfrastructureError."""
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for tries_left in reversed(range(START_TRIES)):
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
            break
        except ValueError as error:
            raise InputError(f"--address {address}: {error}") from None
        except Exception as error:  # of any type if the machine is too busy to start Ray within 30 s
            ray.shutdown()
            if address != "local":
                raise InfrastructureError(f"no Ray cluster at --address {address}: {error}") from None
            if not tries_left:
                raise InfrastructureError(
                    f"Ray did not start on this machine in {START_TRIES} tries: {error}. If the machine is busy, "
                    "repeat the command later"
                ) from None
    for number, handler in handlers.items():  # Ray installs its own for SIGTERM
        signal.signal(number, handler)


@contextlib.contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Discard what Ray's C++ code writes to file descriptor 2 without Python logging; sys.stderr still works."""
    python_stderr = sys.stderr
    try:
        is_native = python_stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        is_native = False
    if not is_native:
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


def storage_settings() -> dict[str, str]:
    """Return the environment variables that locate the storage, for workers on other nodes; keys are not among them.

    The dashboard and logs of a cluster show these values. Nodes need a role, or keys in their own environment. Raises
    InputError for an endpoint with a user name.
    """
    require_plain_endpoint()
    return {name: os.environ[name] for name in STORAGE_SETTINGS if name in os.environ}
