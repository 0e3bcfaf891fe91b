"""Run a stage of the chain in a thread of its own, a bounded number of items and bytes ahead of its reader."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Put = Callable[..., None]  # put(item, bytes=0)


class Closed(Exception):  # noqa: N818 - not a failure: the reader has stopped
    """Raised by `put` when the reader takes no more items."""


def run_in_thread(work: Callable[[Put], None], items: int, size: int, nice: int = 0) -> Generator[Any, None, None]:
    """Yield what `work(put)` puts, in order, while it runs in its own thread.

    `put(item, bytes)` waits while `items` are ready, or while they and the item that the reader holds have more than
    `size` bytes together. An item larger than `size` passes alone. Items of 0 bytes are only counted. Memory therefore
    holds at most `size` bytes, or one large item, plus the item that `work` is about to put.

    An exception of `work` is raised here, after the items before it. Closing this generator makes the next `put` raise
    Closed, which ends the thread.

    nice: how much the thread, with those that it starts, stands back for others of this process (Linux only).
    """
    channel: _Channel[Any] = _Channel(items, size)

    def run() -> None:
        if nice and sys.platform == "linux":
            os.nice(nice)  # of this thread: Linux has one value for each
        try:
            work(channel.put)
            channel.end(None)
        except BaseException as error:
            channel.end(error)

    threading.Thread(target=run, name="ahead", daemon=True).start()
    try:
        yield from channel.items()
    finally:
        channel.close()


class _Channel(Generic[T]):
    """A bounded queue from one thread to one other."""

    def __init__(self, max_items: int, max_bytes: int):
        self._max_items, self._max_bytes = max_items, max_bytes
        self._ready: deque[tuple[T, int]] = deque()
        self._bytes = 0  # ready or in the reader's hand
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, size: int = 0) -> None:
        with self._changed:
            while not self._closed and (
                len(self._ready) >= self._max_items or (size and self._bytes and self._bytes + size > self._max_bytes)
            ):
                self._changed.wait()
            if self._closed:
                raise Closed
            self._ready.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def items(self) -> Generator[T, None, None]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item, size = self._ready.popleft()
                self._changed.notify_all()
            yield item
            del item  # do not keep it in memory while waiting for the next one
            with self._changed:
                self._bytes -= size
                self._changed.notify_all()
        if self._error:
            raise self._error

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
