"""A finished run over the synthetic videos, whose masks are the truth."""

import pytest

from pipeline.runs.run import Run
from tests.handmade import run_of_truth


@pytest.fixture(scope="session")
def labelled_run(shapes, tmp_path_factory) -> Run:
    """9 pairs of 12 frames each, 96 x 128."""
    return run_of_truth(str(tmp_path_factory.mktemp("labelled") / "run"), *shapes)


@pytest.fixture
def run_with_failure(shapes, tmp_path) -> Run:
    """As `labelled_run`, expression 1 of the first video failed."""
    return run_of_truth(str(tmp_path / "run"), *shapes, failed=(("shapes-0000", "1"),))
