"""A parallel map that holds only a few items at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield the results of `function` in the order of `items`, from `workers` threads.

    At most 2 x `workers` items are ahead of the reader. The first exception is raised in its turn. Items that are
    waiting then, or when the reader stops, never start; those that have begun end later if the reader stops.
    """
    pending: deque[Future[Result]] = deque()
    pool, waits = ThreadPoolExecutor(workers), True
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except GeneratorExit:
        waits = False  # the garbage collector may be what stops the reader, in a thread for which others wait
        raise
    finally:
        pool.shutdown(waits, cancel_futures=True)
