"""Work done ahead in a thread: decoding beside the device, encoding and writing beside it too."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Put = Callable[..., None]  # put(item, size=0)


class Closed(Exception):  # noqa: N818 - no failure: whoever would read on has gone
    """Nobody wants what is put any more."""


def run_in_thread(work: Callable[[Put], None], items: int, size: int) -> Generator[Any, None, None]:
    """What `work(put)` puts, in order, made by a thread of its own.

    `put(item, bytes)` waits while `items` are ready, or more than `size` bytes together with the one that the reader
    has in hand; one item that is larger by itself is let through, and items of no bytes are only counted. So memory
    holds `size` bytes, or one large item, and one more that is just made.

    An exception of `work` is raised here, after the items before it. Closing this generator ends the thread when it
    puts something next: `put` raises Closed there.
    """
    channel: _Channel[Any] = _Channel(items, size)

    def run() -> None:
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
    """From one thread to one other."""

    def __init__(self, most: int, most_bytes: int):
        self._most, self._most_bytes = most, most_bytes
        self._ready: deque[tuple[T, int]] = deque()
        self._bytes = 0  # of what is ready or in the reader's hand
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T, size: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if self._closed:
                raise Closed
            self._ready.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return len(self._ready) < self._most and (not size or not self._bytes or self._bytes + size <= self._most_bytes)

    def items(self) -> Generator[T, None, None]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item, size = self._ready.popleft()
                self._changed.notify_all()
            yield item
            del item  # while the next one is waited for
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
