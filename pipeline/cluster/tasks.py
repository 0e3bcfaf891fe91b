"""Run the same function on many tables, in this process or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.cluster.errors import describe_cause, find_own_error
from pipeline.cluster.session import connect_to_ray
from schemas.errors import InfrastructureError

if TYPE_CHECKING:
    from ray.data import DataContext


def data_context() -> "DataContext":
    """Return the context of Ray Data in this process: quiet, and with the errors of workers as they were raised."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # instead of Ray's own, which does not carry the text
    context.execution_no_progress_timeout_s = -1  # nodes may take hours to come, and so may a unit
    return context


def run_tasks(
    function: Callable[[pa.Table], pa.Table], tasks: Sequence[pa.Table], *, address: str | None, large: bool
) -> Iterator[pa.Table]:
    """Yield the results of `function`, tables of one schema, in the order of `tasks`.

    The tasks run in this process unless `address` names a Ray cluster. `large` work starts a cluster on this machine.
    Raises the errors of this project that `function` raises, and InfrastructureError for any other on a cluster.
    """
    if address is None and not large:
        yield from map(function, tasks)
        return
    with connect_to_ray(address or "local"):
        import ray  # takes seconds, which small work in this process does not need
        import ray.data

        context = data_context()
        keeps_order = context.execution_options.preserve_order
        context.execution_options.preserve_order = True
        try:
            results = ray.data.from_arrow(list(tasks)).map_batches(
                _apply,  # pyright: ignore[reportArgumentType]
                # In a list, or Ray would send the content of the reference with every task.
                fn_kwargs={"function": [ray.put(function)]},
                batch_format="pyarrow",
                batch_size=None,
                num_cpus=1,
            )
        finally:
            context.execution_options.preserve_order = keeps_order  # a data set copies the context when it is made
        try:
            yield from results.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
        except Exception as error:
            own = find_own_error(error)
            if own:
                raise own from None
            raise InfrastructureError(f"a task failed: {describe_cause(error)}") from error


def _apply(task: pa.Table, function: list) -> pa.Table:
    import ray

    actual: Any = ray.get(function[0])
    return actual(task)
