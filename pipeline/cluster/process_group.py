"""The process group of a training on this machine: its processes meet in a private folder and listen on loopback."""

import os
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch
from ray.train.torch import TorchConfig

LOOPBACK = "lo"  # Linux's name of the interface


@dataclass
class LocalTorchConfig(TorchConfig):
    """Set up torch's process group without a port on other interfaces; a single process needs no group.

    Ray's own way opens a store that listens on all interfaces and asks for no token, and backends listen on the address
    of the host. Here the store is a file in `folder`, an absolute path that all processes see and only this user may
    enter.
    """

    folder: str = ""

    @property
    def backend_cls(self) -> type:
        return LocalTorchBackend


class LocalTorchBackend(TorchConfig().backend_cls):
    """Ray Train calls `on_start` whenever it starts all processes, also after one died."""

    def on_start(self, worker_group: Any, backend_config: LocalTorchConfig) -> None:
        if len(worker_group) == 1:
            return
        on_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        options = {
            "backend": "nccl" if on_gpus else "gloo",
            "init_method": f"file://{backend_config.folder}/{uuid.uuid4().hex}",  # a new one for each start
            "world_size": len(worker_group),
            "timeout": timedelta(seconds=backend_config.timeout_s),
        }
        ray.get([worker_group.execute_single_async(rank, _join, rank, options) for rank in range(len(worker_group))])


def _join(rank: int, options: dict) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ[name] = LOOPBACK
    torch.distributed.init_process_group(rank=rank, **options)
