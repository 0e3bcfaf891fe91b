"""The processes of a training, on Ray Train: how many, on what, and what they wait for."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import ray
import ray.train
import ray.train.torch
from ray.train import UserCallback

from jobs.config.train import TrainConfig
from jobs.terminal.progress import clock
from pipeline.cluster.errors import describe_cause, find_own_error
from pipeline.cluster.nodes import alive_nodes, missing
from pipeline.cluster.process_group import LocalTorchConfig
from pipeline.io.private_folder import private_folder
from pipeline.segment.patience import with_patience
from pipeline.training import loop
from pipeline.training.recipe import Recipe
from schemas.errors import InfrastructureError, InputError
from schemas.printable import counted

RESTARTS = 3  # of all processes after one died, besides those after a node was taken away


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """The processes to request, each with one GPU or one CPU."""

    count: int
    on_gpus: bool
    threads: int | None  # of torch in each; None on GPUs

    @property
    def kind(self) -> str:
        return "GPU" if self.on_gpus else "CPU"


def choose_processes(config: TrainConfig, resources: Mapping[str, float]) -> Processes:
    """Return the processes for a cluster with these resources.

    On this machine ("local") they must fit. Elsewhere nodes may still be on their way, so --workers is taken as it is.
    Raises InputError.
    """
    gpus, cpus = int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))
    on_gpus = config.device == "cuda" or (config.device == "auto" and gpus > 0)
    if on_gpus and not gpus and config.address == "local":
        raise InputError("--device cuda needs a GPU, but this machine has none; use --device cpu or auto")
    if on_gpus and not gpus and not config.workers:
        raise InputError("--device cuda, but the cluster has no GPU yet; give --workers N to wait for N of them")
    count = config.workers or (gpus if on_gpus else 1)
    if config.address == "local" and count > (gpus if on_gpus else cpus):
        have = counted(gpus, "GPU") if on_gpus else counted(cpus, "CPU")
        raise InputError(f"--workers {count} exceeds the {have} of this machine; use fewer")
    return Processes(count=count, on_gpus=on_gpus, threads=None if on_gpus else max(1, cpus // count))


def train_on(
    processes: Processes, config: TrainConfig, recipe: Recipe, out: str, show: Callable[[str], None] = lambda _: None
) -> None:
    """Train to the end. If a process dies, all start again from the last saved state.

    Raises the error of this project that a process raised, InfrastructureError for any other, and KeyboardInterrupt.
    """
    if config.device == "auto" and config.address != "local" and not processes.on_gpus:
        show("no node of the cluster has a GPU: training on CPUs; --device cuda waits for GPUs\n")
    training = loop.Training(folder=out, recipe=recipe, weights=config.weight or None, threads=processes.threads)
    with private_folder() as scratch:  # Ray Train needs it; the results are in `out`
        trainer = ray.train.torch.TorchTrainer(
            _work,
            train_loop_config={"training": training, "use_gpu": processes.on_gpus},
            scaling_config=ray.train.ScalingConfig(num_workers=processes.count, use_gpu=processes.on_gpus),
            torch_config=LocalTorchConfig(folder=scratch) if config.address == "local" else None,
            run_config=ray.train.RunConfig(
                name="train",
                storage_path=scratch,
                failure_config=ray.train.FailureConfig(max_failures=RESTARTS),
                callbacks=[NoRestartAfterOwnErrors()],
            ),
        )
        try:
            say = partial(_say_what_is_waited_for, processes, show)
            for _ in with_patience(_fitted(trainer), config.patience, say):
                pass
        except Exception as error:
            raise find_own_error(error) or InfrastructureError(
                f"training stopped: {describe_cause(error)}\nRepeat the command to resume from the last saved state."
            ) from error


class NoRestartAfterOwnErrors(UserCallback):
    """Ends the training when a process raised an error of this project: it would raise it again."""

    def after_exception(self, run_context: object, worker_exceptions: Mapping[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if own := find_own_error(error):
                raise own


def _fitted(trainer: ray.train.torch.TorchTrainer) -> Iterator[object]:
    """Yield the result of a training.

    It runs in a thread, where Ray Train does not take over SIGINT: its own way to end hangs while no node is there.
    """
    done: Future[object] = Future()

    def fit() -> None:
        try:
            done.set_result(trainer.fit())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=fit, name="fit", daemon=True).start()
    yield done.result()


def _say_what_is_waited_for(processes: Processes, show: Callable[[str], None], waited: float) -> None:
    """Raises InfrastructureError if waiting is no use."""
    reason = missing(alive_nodes(ray.nodes()), processes.kind, processes.count)
    if reason is None and _is_pending(processes):
        reason = f"the nodes of the cluster are busy with other work; waiting for {processes.count} {processes.kind}s"
    if reason is not None:
        show(f"no process has trained in the last {clock(waited)}: {reason}\n")


def _is_pending(processes: Processes) -> bool:
    """Return True if a request like that of these processes waits in the cluster."""
    groups = ray.util.placement_group_table().values()
    return any(group["state"] == "PENDING" and len(group["bundles"]) == processes.count for group in groups)


def _work(options: dict) -> None:
    """Train in one process of Ray Train."""
    context = ray.train.get_context()
    device = str(ray.train.torch.get_device()) if options["use_gpu"] else "cpu"
    loop.train(options["training"], context.get_world_rank(), context.get_world_size(), device)
