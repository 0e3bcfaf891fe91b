"""The recordings of the reference, for the tests of the training data."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def parity() -> ModuleType:
    """tests/parity.py: fill rule, recordings, comparison."""
    spec = importlib.util.spec_from_file_location("refervos_parity", Path(__file__).parents[2] / "parity.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
