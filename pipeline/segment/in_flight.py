"""The attempts that are under way in this process: several at once, unless one of them is under suspicion."""

import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Self

from pipeline.segment.channel import Closed

Attempt = AbstractContextManager[AbstractContextManager]  # of its marker; gives that of its time limit


class InFlightAttempts:
    """Attempts between `begin` and `end`, by different threads; all are ended when this context is left.

    When a process dies, nobody can tell which of its attempts did it. All are marked, and so each of them is tried
    again by itself (`apart`): nothing is begun beside it, and it waits until nothing else is under way.
    """

    def __init__(self) -> None:
        self._attempts: dict[int, Attempt] = {}
        self._apart = self._closed = False
        self._changed = threading.Condition()

    def begin(self, attempt: Attempt, *, apart: bool) -> AbstractContextManager:
        """Enter `attempt` when nothing is in its way; its time limit. For one thread only. Raises Closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._attempts or not (apart or self._apart))
            if self._closed:
                raise Closed
            limit = attempt.__enter__()
            self._attempts[id(attempt)] = attempt
            self._apart = apart
            return limit

    def end(self, attempt: Attempt) -> None:
        """Leave `attempt`, in order. For one thread only, that which leaves this context."""
        attempt.__exit__(None, None, None)
        with self._changed:
            del self._attempts[id(attempt)]
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with ExitStack() as all_left:
            for attempt in self._attempts.values():
                all_left.push(attempt)
