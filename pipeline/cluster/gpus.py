"""Hold GPUs of a Ray cluster, so that Ray starts actors on the others: it cannot be asked to avoid one."""

import contextlib
import time
from collections.abc import Collection, Iterator
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

HOLD_SECONDS = 60.0  # until the actors that used the GPUs are gone, and others have started there


class _Holder:
    """An actor that does nothing with its GPU."""

    def gpu(self) -> str:
        return ray.get_runtime_context().get_accelerator_ids()["GPU"][0]


@contextlib.contextmanager
def gpus_held(gpus: Collection[tuple[str, str]]) -> Iterator[None]:
    """Keep other actors from `gpus`, pairs of a node and Ray's name of one of its GPUs, while the block lasts.

    A GPU that another user of the cluster holds stays theirs.
    """
    holders: list[Any] = []
    try:
        for node in sorted({node for node, _ in gpus}):
            holders += _hold(node, {gpu for its_node, gpu in gpus if its_node == node})
        yield
    finally:
        for holder in holders:
            ray.kill(holder)


def _hold(node: str, gpus: set[str]) -> list[Any]:
    """Start a holder on each free GPU of the node, and keep those on `gpus`. Returns these actors."""
    alive = {found["NodeID"]: found["Resources"] for found in ray.nodes() if found["Alive"]}
    if node not in alive:
        return []
    options = {
        "num_cpus": 0,
        "num_gpus": 1,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }
    holder = ray.remote(_Holder).options(**options)
    started: list[Any] = [holder.remote() for _ in range(int(alive[node].get("GPU", 0)))]
    asked = {holder.gpu.remote(): holder for holder in started}
    kept, deadline = {}, time.monotonic() + HOLD_SECONDS
    while asked and kept.keys() < gpus:
        answered, _ = ray.wait(list(asked), timeout=max(0.0, deadline - time.monotonic()))
        if not answered:
            break
        holder = asked.pop(answered[0])
        with contextlib.suppress(RayError):  # the node is gone
            if (gpu := ray.get(answered[0])) in gpus:
                kept[gpu] = holder
    for holder in started:
        if not any(holder is each for each in kept.values()):
            ray.kill(holder)
    return list(kept.values())
