"""The node of a Ray session on this machine, without the processes of Ray that no command uses."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ray._private import node


class LocalNode(node.Node):
    """Without dashboard, autoscaler and log monitor: these take half of the time to start Ray, and more to end it.

    The agent of the dashboard stays, for metrics, with a port of its own: with Ray's default port it waits for
    seconds if the machine has another session.
    """

    def __init__(self, ray_params: Any, *arguments: Any, **options: Any) -> None:
        ray_params.no_monitor, ray_params.include_log_monitor = True, False
        ray_params.dashboard_agent_listen_port = 0  # any free one
        super().__init__(ray_params, *arguments, **options)

    def start_api_server(self, **options: Any) -> None:
        self._webui_url = ""


@contextlib.contextmanager
def local_node() -> Iterator[None]:
    """Let `ray.init` start a `LocalNode` in this block."""
    before, node.Node = node.Node, LocalNode
    try:
        yield
    finally:
        node.Node = before
