"""The same tasks on the workers of a running Ray session; results come in the order of the tasks."""

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray
from ray.data import DataContext

from pipeline.evaluation.scorer import RESULT, Scorer
from schemas.errors import InputError

REFUSED = "refused"  # status of the one row that a task gives if its input is broken


def score_on_ray(tasks: Sequence[pa.Table], scorer: Scorer) -> Iterator[pa.Table]:
    """Tables of RESULT, one for each task. Raises InputError as `scorer` does."""
    reference = ray.put(scorer)
    with _context():
        results = ray.data.from_arrow(list(tasks)).map_batches(
            _score,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"scorer": [reference]},  # in a list, or Ray would send its content with every task
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=1,
        )
    for table in results.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        if table["status"][0].as_py() == REFUSED:
            raise InputError(table["error"][0].as_py())
        yield table.select(RESULT.names)


def _score(task: pa.Table, scorer: list[ray.ObjectRef]) -> pa.Table:
    try:
        return ray.get(scorer[0])(task)
    except InputError as error:  # an exception would come back wrapped in Ray's own text
        return pa.Table.from_pylist([{"status": REFUSED, "error": str(error)}], schema=RESULT)


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """Settings that a data set takes over when it is made."""
    context = DataContext.get_current()
    before = context.execution_options.preserve_order
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.execution_options.preserve_order = True
    try:
        yield
    finally:
        context.execution_options.preserve_order = before
