"""The node of a Ray session on this machine, without the processes of Ray that no command uses."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ray._private import node

READY_SECONDS = 10.0  # until Ray itself waits for the node, and asks for it once per second


class LocalNode(node.Node):
    """Without dashboard, autoscaler and log monitor: these take time to start and to end, and nothing uses them.

    The agent of the dashboard stays, for metrics, with a port of its own: with Ray's default port it waits for
    seconds if the machine has another session.
    """

    def __init__(self, ray_params: Any, *arguments: Any, **options: Any) -> None:
        ray_params.no_monitor, ray_params.include_log_monitor = True, False
        ray_params.dashboard_agent_listen_port = 0  # any free one
        try:
            super().__init__(ray_params, *arguments, **options)
        except BaseException:  # Ctrl-C too. Ray would leave what has started, whose helpers live on for a minute
            self.kill_all_processes(check_alive=False, allow_graceful=True)
            raise

    def start_api_server(self, **options: Any) -> None:
        self._webui_url = ""

    def start_ray_processes(self) -> None:
        super().start_ray_processes()
        client, deadline = self.get_gcs_client(), time.monotonic() + READY_SECONDS
        while client and not client.get_all_node_info() and time.monotonic() < deadline:
            time.sleep(0.02)


@contextlib.contextmanager
def local_node() -> Iterator[None]:
    """Let `ray.init` start a `LocalNode` in this block."""
    before, node.Node = node.Node, LocalNode
    try:
        yield
    finally:
        node.Node = before
