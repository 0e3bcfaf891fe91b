import os

import pytest

from pipeline.segment.resources import Resources, choose_resources
from schemas.errors import InputError


def choose(options: dict, cluster: dict) -> tuple[Resources, int | None]:
    defaults = {"address": "local", "device": "auto", "pool_size": [], "gpus_per_actor": None}
    return choose_resources(cluster, **defaults | options)


@pytest.mark.parametrize(
    ("options", "cluster", "expected"),
    [
        ({}, {"CPU": 8, "GPU": 2}, (2, 2, 1.0)),
        ({"device": "cpu", "units": 100}, {"CPU": 8, "GPU": 2, "memory": 64e9}, (8, 8, 0.0)),
        ({"units": 3}, {"CPU": 8, "memory": 64e9}, (3, 3, 0.0)),
        ({"units": 100, "masks": 500}, {"CPU": 8, "memory": 64e9}, (3, 3, 0.0)),
        ({"units": 100, "bytes_per_actor": 4 * 10**9}, {"CPU": 8, "memory": 14e9}, (3, 3, 0.0)),
        ({"units": 100, "bytes_per_actor": 4 * 10**9}, {"CPU": 8, "memory": 1e9}, (1, 1, 0.0)),
        ({"gpus_per_actor": 0.5}, {"CPU": 8, "GPU": 2}, (4, 4, 0.5)),
        ({"gpus_per_actor": 1 / 3}, {"CPU": 8, "GPU": 1}, (3, 3, 1 / 3)),
        ({"pool_size": [3]}, {"CPU": 8}, (3, 3, 0.0)),
        ({"pool_size": [1, 16]}, {"CPU": 8, "GPU": 2}, (1, 2, 1.0)),  # on this machine only as many as fit
        ({"pool_size": [1, 16], "address": "auto"}, {"CPU": 8, "GPU": 2}, (1, 16, 1.0)),
        ({"pool_size": [4], "address": "auto", "device": "cuda"}, {}, (4, 4, 1.0)),  # nodes are still to come
        ({"address": "auto"}, {"CPU": 8, "GPU": 4}, (4, 4, 1.0)),
    ],
)
def test_actors_fit_the_cluster(options, cluster, expected):
    resources, threads = choose(options, cluster)
    assert (resources.min_actors, resources.max_actors, resources.gpus_per_actor) == expected
    assert threads == (None if expected[2] else max(1, min(cluster["CPU"], os.cpu_count() or 1) // expected[1]))


@pytest.mark.parametrize(
    ("options", "cluster", "text"),
    [
        ({"pool_size": [3]}, {"CPU": 8, "GPU": 2}, "--actors 3 with 1 GPU each, but the cluster at local has 2 GPUs"),
        ({"device": "cuda"}, {"CPU": 8}, "has 0 GPUs"),
        ({"address": "auto", "device": "cuda"}, {}, "if nodes are added when work waits, give --actors"),
        ({"address": "auto"}, {}, "0 CPUs; if nodes are added"),
        ({"device": "cuda", "gpus_per_actor": 0.0}, {"CPU": 8, "GPU": 1}, "needs a share of a GPU"),
    ],
)
def test_actors_that_do_not_fit_raise(options, cluster, text):
    with pytest.raises(InputError, match=text):
        choose(options, cluster)


def test_the_pool_starts_at_its_largest():
    pool = Resources(max_actors=16, min_actors=1).pool()
    assert (pool.min_size, pool.initial_size, pool.max_size) == (1, 16, 16)
