"""Attempts at units, so that an input that kills its process costs its own pair only and is not tried for ever.

Each attempt writes a marker under RUN/attempts/<unit_id>/ when it begins and removes it when it ends. A marker that
is left over means that the process died. The death counts only if the driver and the node of the attempt are still
alive: preemption and killed drivers are not the fault of the input. A process has several attempts in flight, and its
death counts against all of them, so the next attempt at each is exclusive: the second death finds the guilty unit.
`retry_step` holds the rule that says what is tried next.
"""

import contextlib
import faulthandler
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from pipeline.io import process, storage
from pipeline.runs.hints import read_hint
from schemas.json_fields import known_fields
from schemas.pair import PairKey

GRACE_SECONDS = 30.0  # to mark a timeout, before the process is killed without a mark
STARTING = "_start"  # in place of a unit, in the marker of a process that loads its model
NAME = re.compile(r"[0-9a-f]{1,32}\.json")  # of a marker
BEGIN_TRIES = 5  # of a marker whose folder another process removes


class TrackerClosedError(Exception):
    """`AttemptTracker.begin` was called, or still waiting, when the tracker was closed."""


class Place(NamedTuple):
    """Where an actor works: one GPU of a node, or a node."""

    node: str
    gpu: str = ""  # Ray's name of it on the node, such as "0"; "" without a GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """The content of a marker: who attempts what. `pair` is set for an attempt at one pair of the unit."""

    invocation: str  # of the driver
    node: str
    gpu: str = ""  # as in `Place`
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    pid_namespace: str = field(default_factory=process.pid_namespace)
    pair: PairKey | None = None
    started: float = field(default_factory=time.time)
    timeout: float | None = None  # seconds
    timed_out: bool = False
    reason: str | None = None  # the error that ended the process
    is_control: bool = False  # before an attempt at `pair`

    @property
    def place(self) -> Place:
        return Place(self.node, self.gpu)

    @property
    def runs_here(self) -> bool:
        """True if its process runs on this host."""
        return process.is_here(self.host, self.pid_namespace) and process.runs(self.pid)

    @property
    def has_ended(self) -> bool:
        """True if it is known that its process does not run any more."""
        return process.is_here(self.host, self.pid_namespace) and not process.runs(self.pid)

    @classmethod
    def read(cls, uri: str) -> "Marker":
        """Read the marker at `uri`. Raises ValueError if it is not one; ignores fields of newer versions."""
        try:
            found = cls(**known_fields(cls, read_hint(uri, limit=100_000)))
            return replace(found, pair=PairKey(*found.pair) if found.pair else None)
        except TypeError as error:
            raise ValueError(f"{uri} is not the marker of an attempt: {error}") from None


@dataclass(eq=False)
class Attempt:
    """An attempt in flight. Its clock runs while the model works on it; one clock at a time in a process."""

    uri: str  # of the marker
    marker: Marker
    _timer: threading.Timer | None = field(default=None, repr=False)
    _devnull: int = -1
    has_failed: bool = False

    def fail(self, reason: str) -> None:
        """Note the error that will end this process. The marker stays."""
        self.has_failed = True
        storage.write_bytes(self.uri, json.dumps(asdict(replace(self.marker, reason=reason))).encode())

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


@dataclass(frozen=True, slots=True)
class History:
    """The markers of earlier attempts at a unit."""

    deaths: list[Marker] = field(default_factory=list)  # count against it: their driver and node live
    lost: list[Marker] = field(default_factory=list)  # their driver or node died too, or works on
    controls: list[Marker] = field(default_factory=list)  # deaths in controls; not among `deaths`
    is_busy: bool = False  # a process on this host is at it


class AttemptTracker:
    """The attempts of one process at the units of a run. One thread begins them and another ends them."""

    def __init__(
        self,
        folder: str,
        invocation: str,
        node: str,
        is_alive: Callable[[str], bool],
        timeout: float | None = None,
        gpu: str = "",
    ) -> None:
        """folder: RUN/attempts; is_alive: takes the id of a node, returns True if it is up; timeout: in seconds."""
        self.folder, self.invocation, self.node, self.gpu = folder, invocation, node, gpu
        self._is_alive, self._timeout = is_alive, timeout
        self._in_flight: set[Attempt] = set()
        self._exclusive = self._closed = False  # exclusive: the attempt in flight is
        self._changed = threading.Condition()

    def begin(
        self, unit_id: str, pair: PairKey | None = None, *, exclusive: bool = False, is_control: bool = False
    ) -> Attempt:
        """Write the marker of an attempt at a unit, or at one pair of it, or of the control before that.

        An exclusive attempt waits until no other is in flight, and others wait until it ends. Raises
        TrackerClosedError.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._in_flight or not (exclusive or self._exclusive))
            if self._closed:
                raise TrackerClosedError
            about = {"invocation": self.invocation, "node": self.node, "gpu": self.gpu, "timeout": self._timeout}
            marker = Marker(**about, pair=pair, is_control=is_control)
            attempt = Attempt(storage.join(self.folder, unit_id, f"{uuid.uuid4().hex}.json"), marker)
            for tries_left in reversed(range(BEGIN_TRIES)):
                try:
                    storage.write_bytes(attempt.uri, json.dumps(asdict(marker)).encode(), replace=False)
                    break
                except FileNotFoundError:  # another process removes the empty folder
                    if not tries_left:
                        raise
            self._in_flight.add(attempt)
            self._exclusive = exclusive
            return attempt

    def end(self, attempt: Attempt) -> None:
        """Remove the marker, except of a failed attempt."""
        if not attempt.has_failed:
            storage.remove(attempt.uri)
        with self._changed:
            self._in_flight.remove(attempt)
            self._changed.notify_all()

    def fail(self, unit_id: str, reason: str) -> bool:
        """Note the error that will end this process in the attempts at a unit. Returns False if none is in flight."""
        folder = storage.join(self.folder, unit_id)
        with self._changed:
            found = [attempt for attempt in self._in_flight if storage.parent(attempt.uri) == folder]
        for attempt in found:
            attempt.fail(reason)
        return bool(found)

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
        return self.history(unit_id).deaths

    def history(self, unit_id: str) -> History:
        """Read the markers of a unit."""
        folder, found, is_busy = storage.join(self.folder, unit_id), History(), False
        for name in storage.names(folder, missing_ok=True):
            # An attempt of another driver that has just ended, or a marker that is damaged: markers are hints.
            with contextlib.suppress(FileNotFoundError, ValueError):
                marker = Marker.read(storage.join(folder, name))
                if marker.runs_here and marker.pid != os.getpid():
                    is_busy = True
                elif marker.invocation == self.invocation and self._is_alive(marker.node):
                    (found.controls if marker.is_control else found.deaths).append(marker)
                elif not marker.is_control:
                    found.lost.append(marker)
        return replace(found, is_busy=is_busy)


def sweep(folder: str, done: Collection[str]) -> None:
    """Remove what earlier attempts at the units `done` left in RUN/attempts, except of processes on this host.

    STARTING stands for attempts at loading the model. Files whose names are not those of markers stay.
    """
    for unit_id in storage.names(folder, missing_ok=True):
        if unit_id not in done:
            continue
        for name in filter(NAME.fullmatch, storage.names(storage.join(folder, unit_id), missing_ok=True)):
            uri, is_live = storage.join(folder, unit_id, name), False
            with contextlib.suppress(FileNotFoundError, ValueError):
                is_live = Marker.read(uri).runs_here
            if not is_live:
                with contextlib.suppress(IsADirectoryError):  # not ours
                    storage.remove(uri)
        storage.remove_parts(storage.join(folder, unit_id))
        storage.remove_if_empty(storage.join(folder, unit_id))
