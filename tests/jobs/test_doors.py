"""While a command runs on this machine, nobody gets into its Ray session from outside, nor without its token.

The commands are stopped for a moment (SIGSTOP) while all sockets of all their processes are tried.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
import ray  # noqa: F401 - brings psutil along
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from tests.jobs.test_train import RECIPE

psutil = importlib.import_module("psutil")
ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = {"127.0.0.1", "::1"}
Sockets = set[tuple[str, str, int]]  # program, address, port


def listening(driver: subprocess.Popen) -> tuple[Sockets, list]:
    found, processes = set(), [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in processes:
        try:
            name, sockets = process.name(), process.net_connections("inet")
        except psutil.Error:  # it has just ended
            continue
        found |= {(name, each.laddr.ip.removeprefix("::ffff:"), each.laddr.port) for each in sockets if not each.raddr}
    return found, processes


def own_address() -> str:
    """An address of this machine by which other machines reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]


def ask(port: int, token: str | None) -> grpc.StatusCode:
    """Ask the head of the session if it lives, as a client that joins does first."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        service = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            service.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def attack(sockets: Sockets, processes: list) -> None:
    for _, _, port in sockets:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own_address(), port), 10)
    head = next(process for process in processes if process.name() == "gcs_server")
    token = head.environ()["RAY_AUTH_TOKEN"]  # root and the same user may see it, nobody else
    ports = [port for name, _, port in sockets if name == "gcs_server"]
    answers = {name: {ask(port, key) for port in ports} for name, key in (("none", None), ("other", "0" * 64))}
    assert answers == {"none": {grpc.StatusCode.UNAUTHENTICATED}, "other": {grpc.StatusCode.UNAUTHENTICATED}}
    assert {ask(port, token) for port in ports} == {grpc.StatusCode.OK}  # so it was a door


@pytest.mark.slow
@pytest.mark.parametrize("command", ["segment", "train", "evaluate"])
def test_nobody_joins_a_running_command(command, shapes, checkpoint, labelled_run, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    words = {
        "segment": [shapes[0], tmp_path / "out", "--checkpoint", checkpoint, "--short-side", 32, "--window", 4],
        "evaluate": [labelled_run.folder, shapes[1], "--out", tmp_path / "out", "--address", "local"],
        "train": ["--data", shapes[0], "--annotations", shapes[1], "--init", checkpoint, "--out", tmp_path / "out"],
    }[command]
    words += ["--config", tmp_path / "recipe.toml", "--workers", 2] if command == "train" else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-m", "cli", command, *map(str, words)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    seen, attacked = set(), False
    try:
        while driver.poll() is None:
            sockets, _ = listening(driver)
            seen |= sockets
            if not attacked and any(name.startswith("ray::") for name, *_ in sockets):  # a worker is up
                driver.send_signal(signal.SIGSTOP)
                attack(*listening(driver))
                driver.send_signal(signal.SIGCONT)
                attacked = True
            time.sleep(0.1)
        assert driver.returncode == 0, driver.communicate()[1][-2000:]
    finally:
        driver.kill()
        driver.communicate()
    assert attacked
    assert not {each for each in seen if each[1] not in LOOPBACK}
    assert {"gcs_server", "raylet"} <= {name for name, *_ in seen}
