"""Size of the actor pool of a run, and the share of the cluster that each actor takes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray.data import ActorPoolStrategy

from schemas.errors import InputError
from schemas.printable import counted

CALLS_AT_ONCE = 4  # of an actor with a GPU, each with one unit: one decoded, one at the model, one written, one to come
CALLS_ON_CPU = 2  # decoding takes the same cores as the model, and units that wait in an actor are no work for others
# Memory of an actor on a CPU: libraries, frames and masks on their way, and what the model holds of one window. The
# weights are not part of it, since the actors of a machine share them. Measured: at most 430 bytes a pixel.
ACTOR_BYTES, BYTES_PER_PIXEL = 10**9, 450
# A model that refines masks, by pixels of its input: a frame in three windows; the weights, and the memories of the
# pairs that it follows together.
BYTES_OF_FRAME, BYTES_OF_MEMORIES = 9, 3000
# SAM 3, at the published 1008 pixels 8.1 GB: 3.4 GB for 859.9 million parameters, 0.9 GB for one frame in the model
# (measured with random weights), and room for 60 objects with 64 MB each: 32 frames of memory with 2 MB.
BYTES_OF_CONCEPTS = 8000
ACTOR_MASKS = 128  # that an actor on a CPU makes at least: to load another model takes seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The actor pool of a run: at least `min_actors` actors, up to `max_actors`.

    All are requested at once, since pending actors make a cluster grow. With `min_actors` below `max_actors`, idle
    actors are released before the end.
    """

    max_actors: int = 1
    min_actors: int = 1
    gpus_per_actor: float = 0.0

    def pool(self) -> ActorPoolStrategy:
        calls = CALLS_AT_ONCE if self.gpus_per_actor else CALLS_ON_CPU
        return ActorPoolStrategy(
            min_size=self.min_actors,
            max_size=self.max_actors,
            initial_size=self.max_actors,
            max_tasks_in_flight_per_actor=calls,
            max_concurrent_calls_per_actor=calls,
            enable_true_multi_threading=True,  # calls only queue their unit and wait: the model has one thread
        )


def actor_bytes(short_side: int, window: int) -> int:
    """Return the memory that an actor on a CPU needs for windows of `window` frames at this short side."""
    pixels = window * short_side**2 * 16 // 9
    return ACTOR_BYTES + BYTES_PER_PIXEL * pixels


def refiner_bytes(side: int, window: int) -> int:
    """Return the memory that an actor on a CPU needs to refine masks: of squares, in windows of `window` frames."""
    return ACTOR_BYTES + side**2 * (BYTES_OF_FRAME * window + BYTES_OF_MEMORIES)


def concepts_bytes(side: int, window: int) -> int:
    """Return the memory that an actor on a CPU needs to follow all that sentences name: squares, as `refiner_bytes`."""
    return ACTOR_BYTES + side**2 * (BYTES_OF_FRAME * window + BYTES_OF_CONCEPTS)


def this_machine() -> dict[str, float]:
    """Return the cores of this machine, and the memory that Ray would let actors take, as `choose_resources` wants."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"CPU": len(os.sched_getaffinity(0)), "memory": 0.7 * memory}


def choose_resources(
    cluster: Mapping[str, float],
    address: str,
    device: str,
    pool_size: Sequence[int],
    gpus_per_actor: float | None,
    *,
    units: int = 1,
    masks: int = 10**9,
    bytes_per_actor: int = ACTOR_BYTES,
) -> tuple[Resources, int | None]:
    """Return the actor pool for a cluster with these resources, and torch threads per actor (None on GPUs).

    `pool_size` holds the one or two numbers of --actors, or none. Then each GPU gets an actor, or without GPUs each
    core, as far as memory (`bytes_per_actor`), `units` and `masks` go: one model per core is faster than one on all.
    On this machine ("local") the actors must fit. Elsewhere nodes may still be on their way, so --actors is taken as
    it is. Raises InputError.
    """
    gpus, cpus = cluster.get("GPU", 0.0), int(cluster.get("CPU", 0.0))
    share = gpus_per_actor
    if share is None:
        share = 1.0 if device == "cuda" or (gpus and device != "cpu") else 0.0
    if device == "cuda" and not share:
        raise InputError("--device cuda needs a share of a GPU; leave out --gpus-per-actor 0")
    capacity = int(gpus / share + 1e-6) if share else cpus
    in_memory = int(cluster.get("memory", 0.0) // bytes_per_actor)
    requested = pool_size or [max(1, capacity if share else min(capacity, in_memory, units, masks // ACTOR_MASKS))]
    may_grow = address != "local" and pool_size
    if requested[0] > capacity and not may_grow:
        each = counted(share, "GPU", "g") if share else "one CPU"
        hint = "" if address == "local" else "; if nodes are added when work waits, give --actors"
        has = f"{counted(gpus, 'GPU', 'g')} and {counted(cpus, 'CPU')}"
        raise InputError(f"--actors {requested[0]} with {each} each, but the cluster at {address} has {has}{hint}")
    actors = requested[-1] if may_grow else min(requested[-1], capacity)
    threads = None if share else max(1, min(cpus, os.cpu_count() or 1) // actors)
    return Resources(max_actors=actors, min_actors=requested[0], gpus_per_actor=share), threads
