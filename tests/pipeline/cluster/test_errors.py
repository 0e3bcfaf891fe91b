"""Errors as they come out of a worker: by their text only, or with the error itself inside."""

import pytest

from pipeline.cluster.errors import describe_cause, find_own_error
from schemas.errors import InputError, StorageError

PAGES = "ray::MapWorker.submit()\n  File x\nschemas.errors.StorageError: s3://b: the storage fails\n"
ADVICE = "Failed to apply UDF transform\nTo change retry attempts, configure"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError(PAGES + ADVICE), "s3://b: the storage fails"),
        (ValueError(f"pages\nthe last line\n{ADVICE}"), "ValueError: the last line"),
        (SystemError(), "SystemError"),
    ],
)
def test_the_cause_is_one_line_without_pages_and_advice(error, text):
    assert find_own_error(error) is None
    assert describe_cause(error) == text


def test_the_error_of_a_worker_is_found_inside_that_of_ray():
    wrapped = StorageError(PAGES)
    wrapped.cause = StorageError(f"s3://b: the storage fails\n{ADVICE}")
    assert find_own_error(wrapped) is wrapped.cause
    assert str(wrapped.cause) == "s3://b: the storage fails"


def test_the_error_of_a_training_process_is_found():
    error = RuntimeError("Training failed")
    error.worker_failures = {0: RuntimeError("gone"), 1: RuntimeError("pages")}
    error.worker_failures[1].__cause__ = InputError("no such column")
    assert str(find_own_error(error)) == "no such column"
    del error.worker_failures[1]
    assert find_own_error(error) is None
    assert describe_cause(error) == "RuntimeError: gone"
