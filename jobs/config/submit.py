"""Options of `rvos submit`."""

import hashlib
import re
import shlex
from urllib.parse import urlsplit

from jobs.config.options import argument, command_config, option
from schemas.errors import InputError

LOCAL = "file://"  # marks the local paths among the words of a command
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@command_config
class SubmitConfig:
    """Run COMMAND (any other command of rvos) on a Ray cluster, follow its log, and end with its exit code.

    Repeat it to follow the same job again, or to run it anew when that has ended. With --status, --logs or --stop,
    COMMAND may also be the id that submitting printed.

    \b
    rvos submit --address http://127.0.0.1:8265 -- segment s3://b/m.parquet s3://b/runs/1 --checkpoint s3://b/ckpt
    rvos submit --address http://127.0.0.1:8265 --stop rvos-segment-1-0a1b2c3d
    """

    command: tuple[str, ...] = argument(metavar="[--] COMMAND...")
    address: str = option(metavar="http://HOST:8265", help="Job server of the cluster.")
    working_dir: str | None = option(
        default=None,
        metavar="DIR|none",
        help="Checkout whose code is sent; none: the nodes' own package.  [default: this rvos's checkout, else none]",
    )
    mounted: bool = option(default=False, help="Local paths in COMMAND are the same on every node (NFS, EFS).")
    detach: bool = option(default=False, help="Submit and return, without following the job.")
    status: bool = option(default=False, help="Say how the job of this COMMAND stands, and submit nothing.")
    logs: bool = option(default=False, help="Print its log so far.")
    stop: bool = option(default=False, help="Stop it; what is committed is kept.")

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--address must be that of the job server, http://HOST:8265, got {self.address!r}")
        if self.status + self.logs + self.stop > 1:
            raise InputError("--status, --logs and --stop exclude one another; give one of them")
        local = [word.removeprefix(LOCAL) for word in self.command if word.startswith(LOCAL)]
        if local and not self.mounted and parts.hostname not in LOOPBACK:
            raise InputError(
                f"{', '.join(local)}: the cluster cannot see paths of this machine; put them where all nodes can read "
                "them (aws s3 cp --recursive ...) and name them as s3://..., or say --mounted if every node has them "
                "under this path"
            )

    @property
    def asks(self) -> bool:
        """Whether it is about a job that is there, and submits none."""
        return self.status or self.logs or self.stop

    @property
    def submission_id(self) -> str:
        """The same for the same command, readable: rvos-COMMAND-RUN-HASH."""
        if len(self.command) == 1 and self.asks:
            return self.command[0]
        digest = hashlib.sha256("\0".join(self.command).encode()).hexdigest()[:8]
        folders = [word.rstrip("/").rpartition("/")[2] for word in self.command[1:3] if "://" in word]
        return "-".join(
            ["rvos", self.command[0], re.sub(r"[^A-Za-z0-9_.]+", "_", folders[-1])[:40], digest]
            if folders
            else ["rvos", self.command[0], digest]
        )

    @property
    def entrypoint(self) -> str:
        """One line for the shell; `exec` hands the stop signal and the exit code through."""
        return 'exec python -c "import refervos; refervos.main()" ' + shlex.join(
            word.removeprefix(LOCAL) for word in self.command
        )
