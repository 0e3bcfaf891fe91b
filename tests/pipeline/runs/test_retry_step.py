import os

import pytest

from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.retry_step import CONTROL_SECONDS, NEXT_CONTROL_SECONDS, PAUSE_SECONDS, next_retry_step
from tests.died import PAIR, UNIT, die


@pytest.fixture
def attempts(tmp_path) -> AttemptTracker:
    return AttemptTracker(str(tmp_path / "attempts"), "driver-1", "node-1", lambda node: node == "node-1")


def test_the_ladder(attempts):
    def step():
        return next_retry_step(attempts.history(UNIT))

    assert (step().pair_by_pair, step().exclusive) == (False, False)
    die(attempts)
    assert (step().pair_by_pair, step().exclusive) == (False, True)
    die(attempts)
    assert (step().pair_by_pair, step().exclusive) == (True, True)
    assert step().failed_pairs == {}
    die(attempts, PAIR)
    assert step().failed_pairs == {}
    die(attempts, PAIR)
    die(attempts, ("v", "1"))
    assert set(step().failed_pairs) == {PAIR}
    status, text = step().failed_pairs[PAIR]
    assert status == "crash"
    assert "died 2 times" in text
    assert step().after_control == {("v", "1")}
    assert step().control_seconds == NEXT_CONTROL_SECONDS


def test_deaths_during_controls_raise_the_number_that_a_verdict_needs(attempts):
    for _ in range(2):
        die(attempts)
        die(attempts, PAIR, reason="RuntimeError: CUDA error")
    for controls in (1, 2):
        die(attempts, PAIR, is_control=True)
        step = next_retry_step(attempts.history(UNIT))
        assert (step.failed_pairs, step.after_control) == ({}, {PAIR})
        assert (step.control_seconds, step.pause_seconds) == (CONTROL_SECONDS, PAUSE_SECONDS * controls)
        die(attempts, PAIR, reason="RuntimeError: CUDA error")
        assert "RuntimeError: CUDA error" in next_retry_step(attempts.history(UNIT)).failed_pairs[PAIR][1]


@pytest.mark.parametrize("seconds", [2.0, 20.0, 35.0])
def test_processes_that_are_killed_every_45_seconds_finish_all_the_same(attempts, seconds):
    """In time that only this test counts, with a process that takes five seconds to start."""
    now, done = 44.0, False
    for _ in range(40):
        step = next_retry_step(attempts.history(UNIT))
        assert step.failed_pairs == {}
        dies_at = 45.0 * (now // 45 + 1)
        now += 5
        if PAIR in step.after_control:
            now += step.pause_seconds + step.control_seconds
            if now >= dies_at:
                die(attempts, PAIR, is_control=True)
                now = dies_at
                continue
        now += seconds
        done = now < dies_at
        if done:
            break
        die(attempts, PAIR if step.pair_by_pair else None)
        now = dies_at
    assert done


def test_where_others_can_try_a_verdict_needs_deaths_on_two_nodes(tmp_path):
    attempts = AttemptTracker(str(tmp_path / "attempts"), "driver-1", "node-1", lambda node: node != "node-0")
    for _ in range(2):
        die(attempts)
        die(attempts, PAIR, host="h1", reason="RuntimeError: CUDA error")
    assert next_retry_step(attempts.history(UNIT)).failed_pairs.keys() == {PAIR}
    step = next_retry_step(attempts.history(UNIT), others_can_try=True)
    assert (step.failed_pairs, step.moves_from, step.after_control) == ({}, {("node-1", "")}, {PAIR})
    die(attempts, PAIR, node="node-2", host="h2")
    step = next_retry_step(attempts.history(UNIT), others_can_try=True)
    assert (step.moves_from, step.after_control) == (set(), set())
    status, error = step.failed_pairs[PAIR]
    assert (status, "3 times" in error) == ("crash", True)
    assert ("node node-1, host h1" in error, "node node-2, host h2" in error) == (True, True)


def test_a_control_whose_node_died_tells_nothing_about_the_pair(attempts):
    for _ in range(2):
        die(attempts, PAIR, is_control=True, node="node-2")
    step = next_retry_step(attempts.history(UNIT))
    assert (step.turn, step.refused) == (0, None)


@pytest.mark.parametrize("lost", [{"invocation": "driver-0"}, {"node": "node-2"}])
def test_a_unit_whose_node_or_driver_died_comes_last_then_alone_then_pair_by_pair(attempts, lost):
    def step():
        return next_retry_step(attempts.history(UNIT))

    steps = []
    for pair in (None, None, PAIR, PAIR):
        die(attempts, pair, **lost)
        steps.append((step().turn, step().exclusive, step().pair_by_pair, bool(step().refused)))
    alone = (2, True, True, False)
    assert steps == [(1, True, False, False), alone, alone, (2, True, True, True)]
    assert step().failed_pairs == {}
    assert "video_id=v expression_id=0" in step().refused
    assert os.uname().nodename in step().refused


def test_a_unit_that_another_process_is_at_comes_last(attempts):
    die(attempts, pid=os.getppid(), invocation="driver-0")
    step = next_retry_step(attempts.history(UNIT))
    assert (step.turn, step.exclusive) == (1, False)


def test_a_death_by_the_time_limit_is_a_timeout(attempts):
    for _ in range(2):
        die(attempts)
        die(attempts, PAIR, timeout=10.0, timed_out=True)
    status, text = next_retry_step(attempts.history(UNIT)).failed_pairs[PAIR]
    assert status == "timeout"
    assert "timed out after 10 s even on its own" in text
