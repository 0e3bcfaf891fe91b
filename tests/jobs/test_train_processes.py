"""The processes of a training: how many, what they wait for, and what happens when one dies."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jobs import train
from jobs.config.train import TrainConfig
from jobs.train_processes import NoRestartAfterOwnErrors, choose_processes, train_on
from pipeline.cluster.nodes import alive_nodes, missing
from pipeline.training import loop
from pipeline.training.log import read_log
from schemas.errors import InfrastructureError, InputError
from tests.tiny_training import RECIPE

CPUS = {"CPU": 4.0}


@pytest.fixture
def config(shapes, tmp_path):
    def make(**changes) -> TrainConfig:
        options = {"data": (shapes[0],), "annotations": (shapes[1],), "out": str(tmp_path / "out"), "address": "auto"}
        return TrainConfig(**options | changes)

    return make


@pytest.mark.parametrize(
    ("options", "resources", "expected"),
    [
        ({}, CPUS, (1, False, 4)),
        ({"workers": 2}, CPUS, (2, False, 2)),
        ({}, CPUS | {"GPU": 2.0}, (2, True, None)),
        ({"device": "cpu", "workers": 8}, CPUS | {"GPU": 2.0}, (8, False, 1)),
        ({"device": "cuda", "workers": 8}, CPUS, (8, True, None)),
        ({"device": "cuda", "workers": 8}, CPUS | {"GPU": 2.0}, (8, True, None)),
        ({"device": "cuda", "workers": 2, "address": "local"}, CPUS | {"GPU": 2.0}, (2, True, None)),
    ],
)
def test_processes_that_are_requested(config, options, resources, expected):
    processes = choose_processes(config(**options), resources)
    assert (processes.count, processes.on_gpus, processes.threads) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda", "address": "local", "workers": 8}, "needs a GPU, but this machine has none"),
        ({"device": "cuda"}, "the cluster has no GPU yet; give --workers N to wait for N of them"),
        ({"workers": 8, "address": "local"}, "--workers 8 exceeds the 4 CPUs of this machine"),
    ],
)
def test_processes_that_can_never_be_there_are_refused(config, options, message):
    with pytest.raises(InputError, match=message):
        choose_processes(config(**options), CPUS)


def test_what_nodes_lack():
    node = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0}}
    alive = alive_nodes(
        [node, node | {"NodeID": "b", "Resources": {"GPU": 3.0}}, node | {"NodeID": "c", "Alive": False}]
    )
    assert set(alive) == {"a", "b"}
    assert missing(alive, "GPU", 3) is None
    assert missing(alive, "GPU", 8) == "the nodes of the cluster have 3 of 8 GPUs; waiting for the others"
    assert missing({"a": node}, "GPU", 8) == "no node of the cluster has a GPU; waiting for 8"
    assert missing({"a": node}, "GPU") == "no node of the cluster has a GPU; waiting for one"
    with pytest.raises(InfrastructureError, match="the cluster has no node any more"):
        alive_nodes([node | {"Alive": False}])


def test_own_errors_end_a_training_and_others_do_not():
    NoRestartAfterOwnErrors().after_exception(None, {0: RuntimeError("killed")})
    with pytest.raises(InputError, match="the loss is nan"):
        NoRestartAfterOwnErrors().after_exception(None, {0: RuntimeError("x"), 1: InputError("the loss is nan")})


SHORT = replace(RECIPE, epochs=1, checkpoint_steps=1, log_steps=1)


def kill(name: str) -> None:
    """Kill the one actor of this session whose class has this name, once it is there."""
    from ray._private.state import actors

    found: list[int] = []
    while not found:
        time.sleep(0.05)
        alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
        found = [actor["Pid"] for actor in alive if name in actor["ActorClassName"]]
    (pid,) = found
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_without_gpus_is_asked_and_waited_for(config, ray_session, interrupts):
    """As `segment`: the wait is told again and again, and ends with exit code 3 when nothing can come any more."""
    import ray

    said: list[str] = []
    asked = config(device="cuda", workers=8, patience=1.0)
    train.prepare(asked, SHORT, asked.out)

    def show(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            patch.setattr(ray, "nodes", list)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InfrastructureError, match="no node any more") as ended:
        train_on(choose_processes(asked, ray.cluster_resources()), asked, SHORT, asked.out, show)
    assert ended.value.exit_code == 3
    assert len(said) == 3
    assert all("no process has trained in the last" in text for text in said)
    assert all(text.endswith("no node of the cluster has a GPU; waiting for 8\n") for text in said)
    kill("TrainController")  # the session, which would end it, goes on for other tests


def kill_a_worker(folder: str) -> None:
    """Kill the process that trains, after a few of its steps."""
    while len(read_log(folder)) < 2:
        time.sleep(0.05)
    kill("RayTrainWorker")


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.ray
def test_a_process_that_dies_is_started_again_with_the_same_data(config, ray_session):
    import ray

    killed, whole = config(), config(out=f"{config().out}-whole")
    processes = choose_processes(killed, ray.cluster_resources())
    for each in (killed, whole):
        train.prepare(each, SHORT, each.out)
    killer = threading.Thread(target=kill_a_worker, args=(killed.out,), daemon=True)
    killer.start()
    train_on(processes, killed, SHORT, killed.out)
    killer.join()
    loop.train(loop.Training(folder=whole.out, recipe=SHORT, threads=processes.threads))
    expected = load_file(Path(whole.out) / "checkpoint" / "model.safetensors")
    for name, tensor in load_file(Path(killed.out) / "checkpoint" / "model.safetensors").items():
        assert torch.equal(tensor, expected[name]), name
    steps = [[(line["step"], line["loss"]) for line in read_log(one.out)] for one in (killed, whole)]
    assert steps[0] == steps[1]
