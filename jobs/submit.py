"""`rvos submit`: run a command of rvos on a cluster through its job server, follow it, and end with its exit code."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from jobs.config.submit import SubmitConfig
from pipeline.cluster.session import storage_settings
from schemas.errors import InfrastructureError, InputError

CHECKOUT = Path(__file__).resolve().parents[1]
# All that a cluster needs of a checkout; data, runs and environments that lie in it stay here.
SOURCES = ("refervos.py", "cli.py", "jobs", "model", "pipeline", "schemas")
EXCLUDES = ["/*", "!/.", *(f"!/{name}" for name in SOURCES), "__pycache__"]
CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0  # with a job server that does not answer while a job is followed
NOT_READY = "No available agent"  # what the job server of a head says that is just coming up


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitResult:
    """Where the job stands. `logs` only if they were asked for."""

    submission_id: str
    address: str
    status: str
    message: str
    job_exit_code: int | None
    logs: str | None = None

    @property
    def exit_code(self) -> int:
        """The job's own; 3 if it died without one, 130 if it was stopped, 0 while it goes on."""
        if self.status == JobStatus.STOPPED:
            return 130
        return (self.job_exit_code or 3) if self.status == JobStatus.FAILED else 0

    def to_json(self) -> dict:
        return asdict(self) | {"exit_code": self.exit_code}

    def text(self) -> str:
        if self.logs is not None:
            return self.logs.rstrip("\n")
        ended = "" if self.job_exit_code is None else f", exit code {self.job_exit_code}"
        # Of a job that failed by itself the message repeats its log, which was shown; else it is all there is.
        why = f"\n{self.message}" if self.status == JobStatus.FAILED and self.job_exit_code is None else ""
        return f"{self.submission_id} on {self.address}: {self.status.lower()}{ended}{why}"


def run(config: SubmitConfig, show: Callable[[str], None] = lambda _: None) -> SubmitResult:
    """Submit the command, unless it is at work there already, and follow it to its end; `show` gets its log.

    With `status`, `logs` or `stop`: that, of the latest job of this command. Raises InfrastructureError if the job
    server cannot be reached or the job is lost, InputError if there is no such job or the cluster is another Ray.
    """
    client = connect(config.address)
    latest, following = _numbers(client, config.submission_id)
    if config.asks:
        if latest is None:
            raise InputError(f"no job {config.submission_id} on {config.address}; without --status it is submitted")
        return _ask(client, config, latest)
    if latest is not None and not client.get_job_status(latest).is_terminal():
        name = latest
        show(f"{name} is there already; following it\n")
    else:
        name = _submit(client, config, following)
        show(f"submitted {name}\n")
    if not config.detach:
        try:
            _follow(client, name, show)
        except KeyboardInterrupt:
            show(f"\n{name} goes on. Repeat the command to follow it; add --stop to stop it.\n")
            raise
    return _result(client, config, name)


def connect(address: str) -> JobSubmissionClient:
    """A client of the job server at `address`; raises InfrastructureError or InputError that says what is wrong."""
    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.ERROR)  # not a line for every file that is left out of what is sent
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)  # Ray would prefer them to the address that was given
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
        client = JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InputError(
            f"{address} wants a token ({str(error).splitlines()[0]}); set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN, which 'ray get-auth-token' prints on the head"
        ) from None
    except OSError as error:
        raise InfrastructureError(
            f"no job server answers at {address} ({error}); is the cluster up, and its port forwarded "
            "('ray dashboard ray_cluster.yaml', 'kubectl port-forward')?"
        ) from None
    except (ImportError, RuntimeError, ValueError, KeyError) as error:
        if "ray[default]" in str(error) or isinstance(error, ImportError):
            raise InputError("submitting needs all of ray[default]: pip install 'ray[default]'") from None
        raise InfrastructureError(f"what answers at {address} is no Ray job server: {error}") from None
    theirs = client._server_ray_version
    if theirs != ray.__version__:
        raise InputError(
            f"{address} runs Ray {theirs}, this is Ray {ray.__version__}; build the image of the cluster from the "
            "Dockerfile of this version"
        )
    return client


def _numbers(client: JobSubmissionClient, name: str) -> tuple[str | None, str]:
    """The latest of the jobs `name`, `name-2`, `name-3`, ..., None if there is none; and the next that is free."""
    there = {job.submission_id for job in client.list_jobs()}
    latest, following, number = None, name, 1
    while following in there:
        number += 1
        latest, following = following, f"{name}-{number}"
    return latest, following


def _submit(client: JobSubmissionClient, config: SubmitConfig, name: str) -> str:
    runtime_env: dict = {
        "env_vars": {"PYTHONUNBUFFERED": "1", **storage_settings()},
        "worker_process_setup_hook": "refervos.use_own_modules",
    }
    code = _code(config.working_dir)
    if code:
        runtime_env |= {"working_dir": code, "excludes": EXCLUDES}
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=config.entrypoint, submission_id=name, runtime_env=runtime_env)
        except RuntimeError as error:
            if _numbers(client, name)[0] is not None:  # someone submitted the same in this moment
                return name
            if NOT_READY not in str(error) or time.monotonic() > patience:
                raise InfrastructureError(f"{config.address} did not take the job: {error}") from None
        time.sleep(1)


def _code(working_dir: str | None) -> str | None:
    """The folder whose code is sent, None to use the package that the nodes have."""
    if working_dir is None:
        return str(CHECKOUT) if (CHECKOUT / "pyproject.toml").exists() else None
    if working_dir == "none":
        return None
    if not Path(working_dir, "refervos.py").exists():
        raise InputError(f"--working-dir {working_dir} is no checkout of refervos: it has no refervos.py")
    return str(Path(working_dir).absolute())


def _follow(client: JobSubmissionClient, name: str, show: Callable[[str], None]) -> None:
    """Show the log of a job until the job has ended, through lost connections."""
    shown, heard = 0, time.monotonic()

    async def tail() -> None:
        nonlocal shown, heard
        seen = 0  # a new connection begins with the whole log
        async for text in client.tail_job_logs(name):
            heard = time.monotonic()
            show(text[max(0, shown - seen) :])
            seen += len(text)
            shown = max(shown, seen)

    while True:
        problem: Exception | None = None
        try:
            asyncio.run(tail())
            if client.get_job_status(name).is_terminal():
                return
            heard = time.monotonic()
        except (TimeoutError, OSError, RuntimeError) as error:
            problem = error
        if time.monotonic() - heard > PATIENCE_SECONDS:
            raise InfrastructureError(f"contact with {name} is lost ({problem}); repeat the command to follow it again")
        time.sleep(1)


def _ask(client: JobSubmissionClient, config: SubmitConfig, name: str) -> SubmitResult:
    if config.stop:
        client.stop_job(name)
        while not client.get_job_status(name).is_terminal():
            time.sleep(0.5)
    return _result(client, config, name, client.get_job_logs(name) if config.logs else None)


def _result(client: JobSubmissionClient, config: SubmitConfig, name: str, logs: str | None = None) -> SubmitResult:
    info: JobDetails = client.get_job_info(name)
    return SubmitResult(
        submission_id=name,
        address=config.address,
        status=info.status.value,
        message=info.message or "",
        job_exit_code=info.driver_exit_code,
        logs=logs,
    )
