"""Errors of tasks on Ray reach the caller as they were raised."""

import pyarrow as pa
import pytest

from pipeline.cluster.tasks import run_tasks
from schemas.errors import InfrastructureError, InputError, StorageError

TASKS = [pa.table({"n": [n]}) for n in range(3)]


def fail(error: Exception):
    def work(task: pa.Table) -> pa.Table:
        if task["n"][0].as_py() == 1:
            raise error
        return task

    return work


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (StorageError("s3://b: no answer"), StorageError, "^s3://b: no answer$"),
        (InputError("row 3 is bad"), InputError, "^row 3 is bad$"),
        (ValueError("a defect"), InfrastructureError, "^a task failed: ValueError: a defect$"),
    ],
)
def test_the_error_of_a_task_keeps_its_kind_and_is_one_line(error, kind, text):
    with pytest.raises(kind, match=text):
        list(run_tasks(fail(error), TASKS, address="local", large=False))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_results_come_in_the_order_of_the_tasks():
    tables = list(run_tasks(lambda task: task, TASKS, address="local", large=False))
    assert [table["n"][0].as_py() for table in tables] == [0, 1, 2]
