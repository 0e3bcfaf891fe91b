"""The same tasks on the workers of a running Ray session; results come in the order of the tasks."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import ray
from ray.data import DataContext

from schemas.errors import InputError

Function = Callable[[pa.Table], pa.Table]
REFUSED = pa.field("refused", pa.string())  # why the input of a task is broken, in the one row that it then gives


def map_on_ray(function: Function, tasks: Sequence[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """`function` of each task, tables of `schema`. Raises InputError as `function` does."""
    reference = ray.put(function)
    with _context():
        results = ray.data.from_arrow(list(tasks)).map_batches(
            _apply,  # pyright: ignore[reportArgumentType]
            # The reference is in a list, or Ray would send its content with every task.
            fn_kwargs={"function": [reference], "schema": schema.append(REFUSED)},
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=1,
        )
    for table in results.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        refused = table[REFUSED.name][0].as_py()
        if refused is not None:
            raise InputError(refused)
        yield table.select(schema.names)


def _apply(task: pa.Table, function: list[ray.ObjectRef], schema: pa.Schema) -> pa.Table:
    try:
        table: pa.Table = ray.get(function[0])(task)
    except InputError as error:  # an exception would come back wrapped in Ray's own text
        return pa.Table.from_pylist([{REFUSED.name: str(error)}], schema=schema)
    return table.append_column(REFUSED, pa.nulls(len(table), REFUSED.type))


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
