"""Attempts at units, so that an input that kills its process costs its own pair only and is not tried for ever.

Each attempt writes a marker under RUN/attempts/<unit_id>/ when it begins and removes it when it ends. A marker that
is left over means that the process died. The death counts only if the driver and the node of the attempt are still
alive: preemption and killed drivers are not the fault of the input. A process has several attempts in flight, and its
death counts against all of them, so the next attempt at each is exclusive: the second death finds the guilty unit.

The ladder: the unit twice, then each of its pairs twice on its own, then an error row for a pair that died twice.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace

from pipeline.io import storage
from schemas.json_text import parse_object
from schemas.pair import PairKey

GRACE_SECONDS = 30.0  # to mark a timeout, before the process is killed without a mark
MAX_DEATHS = 2  # of a unit, and then of a pair


class TrackerClosedError(Exception):
    """`AttemptTracker.begin` was called, or still waiting, when the tracker was closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """The content of a marker: who attempts what. `pair` is set for an attempt at one pair of the unit."""

    invocation: str  # of the driver
    node: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    pair: PairKey | None = None
    started: float = field(default_factory=time.time)
    timeout: float | None = None  # seconds
    timed_out: bool = False

    @classmethod
    def read(cls, uri: str) -> "Marker":
        """Read the marker at `uri`. Raises ValueError if the file is not one; ignores fields of newer versions."""
        try:
            found = parse_object(storage.read_bytes(uri, limit=100_000))
            values = {each.name: found[each.name] for each in fields(cls) if each.name in found}
            return replace(cls(**values), pair=PairKey(*found["pair"]) if found.get("pair") else None)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{uri} is not the marker of an attempt: {error}") from None


@dataclass(eq=False)
class Attempt:
    """An attempt in flight. Its clock runs while the model works on it; one clock at a time in a process."""

    uri: str  # of the marker
    marker: Marker
    _timer: threading.Timer | None = field(default=None, repr=False)
    _devnull: int = -1

    def start_clock(self) -> None:
        """End this process after `marker.timeout` seconds, even if native code hangs. The marker stays."""
        if self.marker.timeout is not None:
            self._timer = threading.Timer(self.marker.timeout, self._time_out)
            self._timer.daemon = True
            self._timer.start()
            self._devnull = os.open(os.devnull, os.O_WRONLY)
            # In case the interpreter hangs too and the timer never runs.
            faulthandler.dump_traceback_later(self.marker.timeout + GRACE_SECONDS, exit=True, file=self._devnull)

    def stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
            faulthandler.cancel_dump_traceback_later()
            os.close(self._devnull)

    def _time_out(self) -> None:
        try:
            storage.write_bytes(self.uri, json.dumps(asdict(replace(self.marker, timed_out=True))).encode())
        finally:
            os._exit(1)


class AttemptTracker:
    """The attempts of one process at the units of a run. One thread begins them and another ends them."""

    def __init__(
        self, folder: str, invocation: str, node: str, is_alive: Callable[[str], bool], timeout: float | None = None
    ) -> None:
        """folder: RUN/attempts; is_alive: takes the id of a node, returns True if it is up; timeout: in seconds."""
        self.folder, self.invocation, self.node = folder, invocation, node
        self._is_alive, self._timeout = is_alive, timeout
        self._in_flight: set[Attempt] = set()
        self._exclusive = self._closed = False  # exclusive: the attempt in flight is
        self._changed = threading.Condition()

    def begin(self, unit_id: str, pair: PairKey | None = None, *, exclusive: bool = False) -> Attempt:
        """Write the marker of an attempt at a unit, or at one pair of it.

        An exclusive attempt waits until no other is in flight, and others wait until it ends. Raises
        TrackerClosedError.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._in_flight or not (exclusive or self._exclusive))
            if self._closed:
                raise TrackerClosedError
            marker = Marker(invocation=self.invocation, node=self.node, pair=pair, timeout=self._timeout)
            attempt = Attempt(storage.join(self.folder, unit_id, f"{uuid.uuid4().hex}.json"), marker)
            storage.write_bytes(attempt.uri, json.dumps(asdict(marker)).encode(), replace=False)
            self._in_flight.add(attempt)
            self._exclusive = exclusive
            return attempt

    def end(self, attempt: Attempt) -> None:
        """Remove the marker."""
        storage.remove(attempt.uri)
        with self._changed:
            self._in_flight.remove(attempt)
            self._changed.notify_all()

    def close(self) -> None:
        """End all attempts in flight, and let no other begin."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with contextlib.ExitStack() as stack:  # each of them, also if another one fails
            for attempt in list(self._in_flight):
                stack.callback(self.end, attempt)

    def deaths(self, unit_id: str) -> list[Marker]:
        """Return the markers of the attempts that count against a unit."""
        folder, counted = storage.join(self.folder, unit_id), []
        for name in storage.names(folder, missing_ok=True):
            # An attempt of another driver that has just ended, or a marker that is damaged: markers are hints.
            with contextlib.suppress(FileNotFoundError, ValueError):
                marker = Marker.read(storage.join(folder, name))
                runs_here = marker.host == socket.gethostname() and os.path.exists(f"/proc/{marker.pid}")
                if runs_here and marker.pid != os.getpid():
                    continue
                if marker.invocation == self.invocation and self._is_alive(marker.node):
                    counted.append(marker)
        return counted


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryStep:
    """The next attempt at a unit: as a whole, or pair by pair without the pairs that failed.

    `exclusive`: with no other attempt in flight in the process, so that a death shows who caused it.
    """

    pair_by_pair: bool = False
    exclusive: bool = False
    failed_pairs: dict[PairKey, tuple[str, str]] = field(default_factory=dict)  # pair -> status, error


def next_retry_step(deaths: list[Marker]) -> RetryStep:
    """Return the step of the ladder after these deaths of one unit."""
    of_pairs = [marker for marker in deaths if marker.pair is not None]
    if len(deaths) - len(of_pairs) < MAX_DEATHS:
        return RetryStep(exclusive=bool(deaths))
    counts = Counter(marker.pair for marker in of_pairs)
    failed = {}
    for marker in of_pairs:
        if counts[marker.pair] < MAX_DEATHS:
            continue
        if marker.timed_out:
            error = f"timed out after {marker.timeout:g} s even on its own; raise --unit-timeout or fix the video"
            failed[marker.pair] = "timeout", error
        else:
            where = f"node {marker.node}, host {marker.host}"
            failed[marker.pair] = "crash", f"its process died {MAX_DEATHS} times on it alone ({where}); fix the video"
    return RetryStep(pair_by_pair=True, exclusive=True, failed_pairs=failed)
