"""Say what a run waits for when nothing has been finished for a while, and end it where waiting is no use."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pipeline.cluster.nodes import alive_nodes, missing
from pipeline.io import storage
from pipeline.runs.attempts import STARTING, Marker
from pipeline.runs.run import Run
from schemas.errors import InfrastructureError, RvosError
from schemas.printable import counted

T = TypeVar("T")


def with_patience(items: Iterable[T], seconds: float, when_over: Callable[[float], None]) -> Iterator[T]:
    """Yield `items`. Another thread calls `when_over(waited)` each time that none has come for `seconds`.

    If `when_over` raises, the wait ends with its error: the main thread, which must be the one that waits, is
    interrupted as by Ctrl-C.
    """
    began, ended, errors = time.monotonic(), threading.Event(), []

    def watch() -> None:
        said = began
        while not ended.wait(max(0.01, max(began, said) + seconds - time.monotonic())):
            now = time.monotonic()
            if now >= max(began, said) + seconds:
                try:
                    when_over(now - began)
                except RvosError as error:
                    errors.append(error)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                said = time.monotonic()

    threading.Thread(target=watch, name="patience", daemon=True).start()
    try:
        for item in items:
            yield item
            began = time.monotonic()
    except KeyboardInterrupt:
        if errors:
            raise errors[0] from None
        raise
    finally:
        ended.set()


def what_is_waited_for(run: Run, invocation: str, needs_gpu: bool, nodes: list[Mapping], *, is_local: bool) -> str:
    """Return what an invocation waits for, from the markers of its attempts and the nodes of the cluster.

    Raises InfrastructureError if nothing will come: the cluster has no node, or no process works on this machine.
    """
    alive = alive_nodes(nodes)
    at_work = sorted(_attempts(run, invocation, alive), key=lambda found: found[1].started)
    if at_work:
        unit_id, first = at_work[0]
        minutes = max(0.0, time.time() - first.started) / 60
        what = f"the pair {first.pair}" if first.pair else f"unit {unit_id}"
        what = "loading the model" if unit_id == STARTING else what
        return (
            f"{len(at_work)} attempts are under way, the oldest at {what} on host {first.host} for {minutes:.0f} min; "
            "--unit-timeout limits them"
        )
    if lacking := missing(alive, "GPU" if needs_gpu else "CPU"):
        return lacking
    if is_local:
        raise InfrastructureError(
            f"no process works on a unit on host {socket.gethostname()}: processes do not start, or something ends "
            "them, such as Ray when the memory is nearly full; free memory or use fewer --actors, then repeat"
        )
    return f"no process works on a unit; the {counted(len(alive), 'node')} of the cluster may be busy with other work"


def _attempts(run: Run, invocation: str, alive: Mapping) -> Iterator[tuple[str, Marker]]:
    """Yield the units of the attempts of an invocation whose processes may live."""
    folder = storage.join(run.folder, "attempts")
    for unit_id in storage.names(folder, missing_ok=True):
        for name in storage.names(storage.join(folder, unit_id), missing_ok=True):
            with contextlib.suppress(FileNotFoundError, ValueError):  # it has just ended, or is damaged
                marker = Marker.read(storage.join(folder, unit_id, name))
                if marker.invocation == invocation and marker.node in alive and not marker.has_ended:
                    yield unit_id, marker
