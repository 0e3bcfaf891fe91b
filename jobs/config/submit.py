"""Options of `rvos submit`."""

import hashlib
import re
import shlex
from urllib.parse import urlsplit

from jobs.config.options import argument, command_config, option
from schemas import kinds
from schemas.errors import InputError
from schemas.shown import shown, without_secrets
from schemas.uri import parse, require_plain_address, scheme_of

LOCAL = "file://"  # marks the local paths among the words of a command
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@command_config
class SubmitConfig:
    """Run another rvos command on a Ray cluster and print its log.

    Submits COMMAND (written without rvos) as a job, prints its log until it ends, and returns its exit code. Repeat the
    command to follow a running job again; a job that has ended is run again. With --status, --logs or --stop, COMMAND
    may be the id of the job.

        rvos submit --address http://127.0.0.1:8265 -- segment s3://b/m.parquet s3://b/runs/1 --checkpoint s3://b/ckpt
        rvos submit --address http://127.0.0.1:8265 --stop rvos-segment-1-0a1b2c3d
    """

    command: tuple[str, ...] = argument(metavar="[--] COMMAND...")
    address: str = option(metavar="http://HOST:8265", help="Job server of the cluster (Ray dashboard).")
    working_dir: str | None = option(
        default=None,
        metavar="DIR|none",
        takes=kinds.CHECKOUT,
        names=("none",),
        help="Checkout of refervos to upload to the cluster; 'none' uses the package installed on the nodes.  "
        "[default: the checkout that this command runs from, else none]",
    )
    mounted: bool = option(
        default=False,
        help="Allow local paths in COMMAND: the same folders are mounted on every node (NFS, EFS).",
    )
    detach: bool = option(default=False, help="Submit, and return without following the job.")
    status: bool = option(default=False, help="Print the state of the job of this COMMAND; submit nothing.")
    logs: bool = option(default=False, help="Print the log of the job so far; submit nothing.")
    stop: bool = option(default=False, help="Stop the job; finished work is kept.")

    def __post_init__(self) -> None:
        if "://" not in self.address:
            require_plain_address(self.address)
        try:
            parts = urlsplit(self.address)
            is_server = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets that are not closed, a port that is not a number
            is_server = False
        if not is_server:
            raise InputError(f"--address must be a job server as in http://HOST:8265, got {shown(self.address)!r}")
        if self.status + self.logs + self.stop > 1:
            raise InputError("got several of --status, --logs and --stop; give one of them")
        local = [parse(word) for word in self.command if word.startswith(LOCAL)]
        if local and not self.mounted and parts.hostname not in LOOPBACK:
            raise InputError(
                f"{', '.join(local)}: the cluster cannot read paths of this machine. Copy them to storage that all "
                "nodes can read (aws s3 cp --recursive ...) and give s3://..., or add --mounted if every node has them "
                "under this path"
            )
        if signed := [text for word in self.command if (text := _without_secrets(word)) != word]:
            raise InputError(
                f"{', '.join(signed)}: the job server shows its commands to all; give URIs without a query"
            )

    @property
    def asks(self) -> bool:
        """True if the command is about an existing job and submits none."""
        return self.status or self.logs or self.stop

    @property
    def submission_id(self) -> str:
        """A readable id, equal for equal commands: rvos-COMMAND-RUN-HASH."""
        if len(self.command) == 1 and self.asks:
            return self.command[0]
        digest = hashlib.sha256("\0".join(self.command).encode()).hexdigest()[:8]
        folders = [word.rstrip("/").rpartition("/")[2] for word in self.command[1:3] if "://" in word]
        readable = [re.sub(r"[^A-Za-z0-9_.]+", "_", folder)[:40] for folder in folders[-1:]]
        return "-".join(["rvos", self.command[0], *readable, digest])

    @property
    def entrypoint(self) -> str:
        """The shell line of the job; `exec` passes on the stop signal and the exit code."""
        words = shlex.join(parse(word) if word.startswith(LOCAL) else word for word in self.command)
        return f'exec python -c "import refervos; refervos.main()" {words}'


def _without_secrets(word: str) -> str:
    """Return a word of a command without the secrets of its URIs: it may be one, or hold some, as of --on-finish."""
    return shown(word) if scheme_of(word) else without_secrets(word)
