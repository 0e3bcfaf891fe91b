"""`rvos submit`: run a command on a cluster through its job server, follow it, and exit with its exit code."""

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
from jobs.result import JobResult
from pipeline.cluster.session import SETUP_HOOK, storage_settings
from schemas.errors import InfrastructureError, InputError

CHECKOUT = Path(__file__).resolve().parents[1]
# The files that a cluster needs. Data, runs and environments in the checkout are not sent.
SOURCES = ("refervos.py", "cli.py", "jobs", "model", "pipeline", "schemas")
EXCLUDES = ["/*", "!/.", *(f"!/{name}" for name in SOURCES), "__pycache__"]
CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0  # until a job server that does not answer counts as lost
NOT_READY = "No available agent"  # answer of a head node that is still starting


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitResult(JobResult):
    """The state of the job. `logs` is set only if requested."""

    submission_id: str
    address: str
    status: str
    message: str
    job_exit_code: int | None
    logs: str | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of the job: 3 if it died without one, 130 if it was stopped, 0 while it runs."""
        if self.status == JobStatus.STOPPED:
            return 130
        return (self.job_exit_code or 3) if self.status == JobStatus.FAILED else 0

    def to_json(self) -> dict:
        return asdict(self) | {"exit_code": self.exit_code}

    def text(self) -> str:
        if self.logs is not None:
            return self.logs.rstrip("\n")
        ended = "" if self.job_exit_code is None else f", exit code {self.job_exit_code}"
        # The message of a job that ended with an exit code repeats its log, which was shown.
        why = f"\n{self.message}" if self.status == JobStatus.FAILED and self.job_exit_code is None else ""
        return f"{self.submission_id} on {self.address}: {self.status.lower()}{ended}{why}"


def run(config: SubmitConfig, show: Callable[[str], None] = lambda _: None) -> SubmitResult:
    """Submit the command, unless it is running already, and follow it to its end; `show` receives its log.

    With `status`, `logs` or `stop`: report on, or stop, the latest job of this command. Raises InfrastructureError if
    the job server cannot be reached or the job is lost, InputError if the job does not exist or the cluster runs
    another version of Ray.
    """
    client = connect(config.address)
    latest, next_name = _find_job(client, config.submission_id)
    logs = None
    if config.asks:
        if latest is None:
            raise InputError(f"no job {config.submission_id} on {config.address}; omit --status to submit it")
        name = latest
        if config.stop:
            client.stop_job(name)
            while not client.get_job_status(name).is_terminal():
                time.sleep(0.5)
        if config.logs:
            logs = client.get_job_logs(name)
    else:
        if latest is not None and not client.get_job_status(latest).is_terminal():
            name = latest
            show(f"{name} is already running; following it\n")
        else:
            name = _submit(client, config, next_name)
            show(f"submitted {name}\n")
        if not config.detach:
            try:
                _follow(client, name, show)
            except KeyboardInterrupt:
                show(f"\n{name} keeps running. Rerun the command to follow it; add --stop to stop it.\n")
                raise
    info: JobDetails = client.get_job_info(name)
    return SubmitResult(
        submission_id=name,
        address=config.address,
        status=info.status.value,
        message=info.message or "",
        job_exit_code=info.driver_exit_code,
        logs=logs,
    )


def connect(address: str) -> JobSubmissionClient:
    """Return a client of the job server at `address`. Raises InfrastructureError or InputError."""
    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.ERROR)  # or Ray prints a line for every file that is not sent
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)  # Ray would prefer them to `address`
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
        client = JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InputError(
            f"{address} requires a token ({str(error).splitlines()[0]}); set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN, which 'ray get-auth-token' prints on the head"
        ) from None
    except OSError as error:
        raise InfrastructureError(
            f"no job server answers at {address} ({error}); is the cluster up, and its port forwarded "
            "('ray dashboard ray_cluster.yaml', 'kubectl port-forward')?"
        ) from None
    except (ImportError, RuntimeError, ValueError, KeyError) as error:
        if "ray[default]" in str(error) or isinstance(error, ImportError):
            raise InputError("rvos submit requires ray[default]: pip install 'ray[default]'") from None
        raise InfrastructureError(f"the server at {address} is not a Ray job server: {error}") from None
    theirs = client._server_ray_version
    if theirs != ray.__version__:
        raise InputError(
            f"{address} runs Ray {theirs}, this is Ray {ray.__version__}; build the image of the cluster from the "
            "Dockerfile of this version"
        )
    return client


def _find_job(client: JobSubmissionClient, name: str) -> tuple[str | None, str]:
    """Return the latest of the jobs `name`, `name-2`, `name-3`, ... (None without any), and the next free name."""
    names = {job.submission_id for job in client.list_jobs()}
    latest, next_name, number = None, name, 1
    while next_name in names:
        number += 1
        latest, next_name = next_name, f"{name}-{number}"
    return latest, next_name


def _submit(client: JobSubmissionClient, config: SubmitConfig, name: str) -> str:
    runtime_env: dict = {
        "env_vars": {"PYTHONUNBUFFERED": "1", **storage_settings()},
        "worker_process_setup_hook": SETUP_HOOK,
    }
    code = _code(config.working_dir)
    if code:
        runtime_env |= {"working_dir": code, "excludes": EXCLUDES}
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=config.entrypoint, submission_id=name, runtime_env=runtime_env)
        except RuntimeError as error:
            if _find_job(client, name)[0] is not None:  # another process has just submitted it
                return name
            if NOT_READY not in str(error) or time.monotonic() > patience:
                raise InfrastructureError(f"{config.address} rejected the job: {error}") from None
        time.sleep(1)


def _code(working_dir: str | None) -> str | None:
    """Return the folder whose code is sent, None to use the package that is installed on the nodes."""
    if working_dir is None:
        return str(CHECKOUT) if (CHECKOUT / "pyproject.toml").exists() else None
    if working_dir == "none":
        return None
    if not Path(working_dir, "refervos.py").exists():
        raise InputError(f"--working-dir {working_dir} is not a checkout of refervos: it has no refervos.py")
    return str(Path(working_dir).absolute())


def _follow(client: JobSubmissionClient, name: str, show: Callable[[str], None]) -> None:
    """Show the log of a job until the job ends; reconnect if the connection is lost."""
    shown, last_answer = 0, time.monotonic()

    async def tail() -> None:
        nonlocal shown, last_answer
        seen = 0  # a new connection starts with the whole log
        async for text in client.tail_job_logs(name):
            last_answer = time.monotonic()
            show(text[max(0, shown - seen) :])
            seen += len(text)
            shown = max(shown, seen)

    while True:
        problem: Exception | None = None
        try:
            asyncio.run(tail())
            if client.get_job_status(name).is_terminal():
                return
            last_answer = time.monotonic()
        except (TimeoutError, OSError, RuntimeError) as error:
            problem = error
        if time.monotonic() - last_answer > PATIENCE_SECONDS:
            raise InfrastructureError(f"lost connection to job {name} ({problem}); rerun the command to reattach")
        time.sleep(1)
