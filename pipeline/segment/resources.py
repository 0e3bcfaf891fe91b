"""Size of the actor pool of a run, and the share of the cluster that each actor takes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray.data import ActorPoolStrategy

from schemas.errors import InputError

CALLS_AT_ONCE = 4  # of one actor, each with one unit: one decoded, one at the model, one written, one to come


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The actor pool of a run: at least `least` actors, up to `actors`.

    All are asked for at once, since pending actors make a cluster grow. With `least` below `actors`, those that find
    no more work are given back before the end.
    """

    actors: int = 1
    least: int = 1
    gpus_per_actor: float = 0.0

    def pool(self) -> ActorPoolStrategy:
        return ActorPoolStrategy(
            min_size=self.least,
            max_size=self.actors,
            initial_size=self.actors,
            max_tasks_in_flight_per_actor=CALLS_AT_ONCE,
            max_concurrent_calls_per_actor=CALLS_AT_ONCE,
            enable_true_multi_threading=True,  # calls only queue their unit and wait: the model has one thread
        )


def choose_resources(
    cluster: Mapping[str, float], address: str, device: str, pool_size: Sequence[int], gpus_per_actor: float | None
) -> tuple[Resources, int | None]:
    """The actor pool for a cluster with these resources, and torch threads per actor (None on GPUs).

    `pool_size` holds the one or two numbers of --actors, or none. On this machine ("local") the actors must fit.
    Elsewhere nodes may still be on their way, so --actors is taken as it is. Raises InputError.
    """
    gpus, cpus = cluster.get("GPU", 0.0), int(cluster.get("CPU", 0.0))
    share = gpus_per_actor
    if share is None:
        share = 1.0 if device == "cuda" or (gpus and device != "cpu") else 0.0
    if device == "cuda" and not share:
        raise InputError("--device cuda needs a share of a GPU; leave out --gpus-per-actor 0")
    fitting = int(gpus / share + 1e-6) if share else cpus
    asked = pool_size or [max(1, fitting) if share else 1]
    may_grow = address != "local" and pool_size
    if asked[0] > fitting and not may_grow:
        each = f"{share:g} GPUs" if share else "one CPU"
        hint = "" if address == "local" else "; if nodes are added when work waits, give --actors"
        has = f"{gpus:g} GPUs and {cpus} CPUs"
        raise InputError(f"--actors {asked[0]} with {each} each, but the cluster at {address} has {has}{hint}")
    actors = asked[-1] if may_grow else min(asked[-1], fitting)
    threads = None if share else max(1, min(cpus, os.cpu_count() or 1) // actors)
    return Resources(actors=actors, least=asked[0], gpus_per_actor=share), threads
