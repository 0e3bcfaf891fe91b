"""Which attempts at a unit died, so that a poisonous input is not tried for ever and costs its own pair only.

Each attempt leaves a marker under RUN/attempts/<unit_id>/ while it is under way, and takes it away when it ends in any
orderly way. A marker that is still there tells of a death. It counts only if the attempt's driver and node outlived it:
a preempted node or a killed driver is not the input's fault. A process has several units under way at once, and its
death counts against all of them; each of these is tried again apart from others, so the second one finds the guilty.

The ladder: the whole unit, once more, then pair by pair, each of them once more; a pair that died twice alone is
given up.
"""

import contextlib
import faulthandler
import json
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace

from pipeline.io import storage
from schemas.errors import InputError
from schemas.pair import PairKey

GRACE_SECONDS = 30.0  # for telling that the time is over
LIVES = 2  # deaths that a unit, and then a pair, is allowed


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """One attempt under way. `pair` is set where a pair is tried alone; `timeout` in seconds, None: no limit."""

    invocation: str  # of the driver
    node: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    pair: PairKey | None = None
    started: float = field(default_factory=time.time)
    timeout: float | None = None
    timed_out: bool = False

    @property
    def still_runs(self) -> bool:
        """Whether its process is alive, as far as that can be told from here."""
        return self.host == socket.gethostname() and os.path.exists(f"/proc/{self.pid}") and self.pid != os.getpid()


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at the units of one run by one driver. `is_alive(node)` tells whether a node is still there."""

    folder: str  # RUN/attempts
    invocation: str
    node: str
    is_alive: Callable[[str], bool]
    timeout: float | None = None

    @contextlib.contextmanager
    def attempt(self, unit_id: str, pair: PairKey | None = None) -> Iterator[contextlib.AbstractContextManager]:
        """Around the work on a unit, or on one of its pairs alone. Yields a context for the part that may take
        `timeout` seconds: when they are over, the process ends itself, even if native code hangs, and the marker stays.

        Several attempts may be under way in a process, but only one of them in that part.
        """
        marker = Marker(invocation=self.invocation, node=self.node, pair=pair, timeout=self.timeout)
        uri = storage.join(self.folder, unit_id, f"{uuid.uuid4().hex}.json")
        storage.create_bytes(uri, json.dumps(asdict(marker)).encode())

        def tell() -> None:
            storage.write_bytes(uri, json.dumps(asdict(replace(marker, timed_out=True))).encode())

        try:
            yield _time_limit(self.timeout, tell)
        finally:
            storage.remove(uri)

    def deaths(self, unit_id: str) -> list[Marker]:
        """The attempts at a unit that count against it."""
        folder = storage.join(self.folder, unit_id)
        if not storage.is_folder(folder):
            return []
        return [
            marker
            for marker in _read_all(folder)
            if marker.invocation == self.invocation and self.is_alive(marker.node) and not marker.still_runs
        ]


@dataclass(slots=True)
class RetryStep:
    """How a unit is to be tried next: as a whole, or pair by pair without those given up.

    `apart`: with nothing beside it in its process, since a death there must tell who caused it.
    """

    alone: bool
    apart: bool = False
    given_up: dict[PairKey, tuple[str, str]] = field(default_factory=dict)  # pair -> status, text


def next_retry_step(deaths: list[Marker]) -> RetryStep:
    """Where the ladder stands after these deaths."""
    alone = [marker for marker in deaths if marker.pair is not None]
    if len(deaths) - len(alone) < LIVES:
        return RetryStep(alone=False, apart=bool(deaths))
    counts = Counter(marker.pair for marker in alone)
    last = {marker.pair: marker for marker in alone}
    return RetryStep(
        alone=True,
        apart=True,
        given_up={pair: _verdict(last[pair]) for pair, count in counts.items() if pair is not None and count >= LIVES},
    )


def _verdict(marker: Marker) -> tuple[str, str]:
    if marker.timed_out:
        text = f"not done after {marker.timeout:g} s, alone; raise --unit-timeout, or mend the video"
        return "timeout", text
    text = f"its process died {LIVES} times on it alone (node {marker.node}, host {marker.host}); mend the video"
    return "crash", text


@contextlib.contextmanager
def _time_limit(seconds: float | None, tell: Callable[[], None]) -> Iterator[None]:
    """After `seconds`, `tell` and end the process; where Python hangs too, C code ends it without a word."""
    if seconds is None:
        yield
        return

    def end() -> None:
        try:
            tell()
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    with open(os.devnull, "w") as nowhere:
        timer.start()
        faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=nowhere)
        try:
            yield
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()


def _read_all(folder: str) -> Iterator[Marker]:
    for name in storage.names(folder):
        with contextlib.suppress(FileNotFoundError):  # another driver's attempt, done since
            yield _read(storage.join(folder, name))


def _read(uri: str) -> Marker:
    try:
        values = json.loads(storage.read_bytes(uri, limit=100_000))
        return Marker(**values | {"pair": PairKey(*values["pair"]) if values["pair"] else None})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{uri} is not an attempt's marker: {error}") from None
