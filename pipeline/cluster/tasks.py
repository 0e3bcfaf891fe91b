"""Run the same function on many tables, in this process or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.cluster.session import connect_to_ray
from schemas.errors import InputError

ERROR = pa.field("refused", pa.string())  # text of the InputError of a task, in the only row of its result


def run_tasks(
    function: Callable[[pa.Table], pa.Table],
    tasks: Sequence[pa.Table],
    schema: pa.Schema,
    *,
    address: str | None,
    large: bool,
) -> Iterator[pa.Table]:
    """Yield the results of `function`, tables of `schema`, in the order of `tasks`. Raises InputError as it does.

    The tasks run in this process unless `address` names a Ray cluster. `large` work starts a cluster on this machine.
    """
    if address is None and not large:
        yield from map(function, tasks)
        return
    with connect_to_ray(address or "local"):
        import ray  # takes seconds, which small work in this process does not need
        from ray.data import DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True  # instead of Ray's own, which does not carry the text
        context.execution_no_progress_timeout_s = -1
        keeps_order = context.execution_options.preserve_order
        context.execution_options.preserve_order = True
        try:
            results = ray.data.from_arrow(list(tasks)).map_batches(
                _apply,  # pyright: ignore[reportArgumentType]
                # In a list, or Ray would send the content of the reference with every task.
                fn_kwargs={"function": [ray.put(function)], "schema": schema.append(ERROR)},
                batch_format="pyarrow",
                batch_size=None,
                num_cpus=1,
            )
        finally:
            context.execution_options.preserve_order = keeps_order  # a data set copies the context when it is made
        for table in results.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            error = table[ERROR.name][0].as_py()
            if error is not None:
                raise InputError(error)
            yield table.select(schema.names)


def _apply(task: pa.Table, function: list, schema: pa.Schema) -> pa.Table:
    import ray

    actual: Any = ray.get(function[0])
    try:
        table: pa.Table = actual(task)
    except InputError as error:  # an exception would come back wrapped in Ray's own text
        return pa.Table.from_pylist([{ERROR.name: str(error)}], schema=schema)
    return table.append_column(ERROR, pa.nulls(len(table), ERROR.type))
