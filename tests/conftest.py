"""What all tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from jobs.terminal import progress
from schemas import uri
from tests import s3_server
from tests.reference import ABSENT, Recordings, named_folder

settings.register_profile("refervos", deadline=None, derandomize=True)  # the same examples on every machine
settings.load_profile("refervos")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: its threads must not spin while waiting

uri.SCHEMES.add("memory")  # a remote storage without a server
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference recordings and real data beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{ABSENT}: no folder {folder}; this test needs real data that is not ours to ship")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of our own golden data."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def recordings(golden) -> Recordings:
    """Metrics of published code: ours, or those in the folder that RVOS_METRICS_DIR names, which may lack some."""
    own = golden / "metrics"
    folder = named_folder("RVOS_METRICS_DIR", own)
    return Recordings(folder, may_lack=folder != own)


@pytest.fixture(scope="session")
def s3_ports() -> Iterator[dict[str, int]]:
    """Free loopback ports for the S3 server, and the AWS environment that leads to it.

    Apart from `s3` so that the Ray session, whose workers inherit the environment, can be there before the server.
    """
    with pytest.MonkeyPatch.context() as patch:
        ports = dict(zip(("master", "volume", "filer", "s3"), s3_server.free_ports(), strict=False))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in s3_server.environment(ports["s3"]).items():
            patch.setenv(name, value)
        yield ports


@pytest.fixture(scope="session")
def server(s3_ports, tmp_path_factory) -> Iterator[s3_server.S3Server]:
    """A real S3 server on loopback, the same for all tests."""
    with s3_server.S3Server(tmp_path_factory.mktemp("s3"), s3_ports) as running:
        yield running


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: several wait for each other where other tests take the cores."""
    import torch  # slow to import, and few tests need it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT interrupts the main thread, as in a command; workers of pytest-xdist ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="session")
def s3(server) -> str:
    """A bucket on that server: "s3://tests"."""
    return f"s3://{s3_server.BUCKET}"


@pytest.fixture(scope="session")
def ray_session(s3_ports) -> Iterator[None]:
    """The one Ray session of the tests; jobs use it instead of starting their own."""
    from pipeline.cluster.session import connect_to_ray

    with connect_to_ray("local"):
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    """Folder of a small, seeded, untrained checkpoint."""
    from jobs.train_start import write_fresh
    from model.referformer.config import ReferFormerConfig, TextConfig
    from model.referformer.network.backbones.video_swin import VideoSwinConfig

    config = ReferFormerConfig(
        backbone=VideoSwinConfig(embed_dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), window=(4, 4, 4)),
        text=TextConfig(vocab_size=261, hidden_size=64, layers=2, heads=4, intermediate_size=128),
        hidden_dim=64,
        heads=4,
        feedforward_dim=128,
        encoder_layers=2,
        decoder_layers=2,
        mask_dim=64,
        projection_groups=8,
        pixel_groups=8,
    )

    folder = str(tmp_path_factory.mktemp("checkpoint") / "small")
    write_fresh(config, 0, None, [], folder)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> tuple[str, str]:
    """Manifest and annotations of three synthetic videos of 12 frames with three expressions each."""
    from tests.moving_shapes import MovingShapes

    folder = tmp_path_factory.mktemp("shapes")
    return MovingShapes(videos=3, num_frames=12, height=96, width=128, seed=7).write(str(folder))


@pytest.fixture(scope="session")
def labelled_run(shapes, tmp_path_factory):
    """A finished run over the synthetic videos whose masks are the truth: 9 pairs of 12 frames each, 96 x 128."""
    from tests.handmade import run_of_truth

    return run_of_truth(str(tmp_path_factory.mktemp("labelled") / "run"), *shapes)


@pytest.fixture
def run_with_failure(shapes, tmp_path):
    """As `labelled_run`, expression 1 of the first video failed."""
    from tests.handmade import run_of_truth

    return run_of_truth(str(tmp_path / "run"), *shapes, failed=(("shapes-0000", "1"),))


@pytest.fixture(autouse=True)
def _no_lines_of_progress(monkeypatch):
    """On a busy machine, a short command of a test would print that it still works."""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 60.0)
