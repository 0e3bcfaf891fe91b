"""A command ends if its first pairs all fail in a way of which the machine may be the cause."""

import pytest

from jobs.segment import FAILURES_AT_START, MOST_FAILURES_AT_START, _require_success
from pipeline.runs.commit import Receipt
from pipeline.segment.totals import RunTotals
from schemas.errors import InfrastructureError


def totals(*receipts: Receipt) -> RunTotals:
    found = RunTotals()
    for receipt in receipts:
        found.add(receipt)
    return found


def failed(status: str, pairs: int, **values) -> Receipt:
    return Receipt("u", "f", pairs=pairs, failed={status: pairs}, errors=["video_id=a: it failed"], **values)


@pytest.mark.parametrize("status", FAILURES_AT_START)
def test_ten_pairs_and_no_mask_end_the_command(status):
    some = failed(status, MOST_FAILURES_AT_START - 1)
    _require_success(totals(some), [status])
    with pytest.raises(InfrastructureError, match=f"first 10 pairs .*it failed.*--retry-errors={status}"):
        _require_success(totals(some, failed(status, 1)), [status])


@pytest.mark.parametrize("status", FAILURES_AT_START)
def test_masks_other_failures_and_those_of_the_run_that_is_refined_do_not(status):
    many = failed(status, 50)
    _require_success(totals(many, Receipt("v", "f", pairs=1, frames=3)), [status])
    _require_success(totals(failed("missing", 50)), [status])
    _require_success(totals(failed(status, 50, failed_before={status: 50})), [status])
    _require_success(totals(many), [])
    assert totals(failed(status, 50, failed_before={status: 50})).failed[status] == 50
