"""What all tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference recordings and real data beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"REFERENCE DATA ABSENT: no folder {folder}; this test needs real data that is not ours to ship")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of our own golden data."""
    return ROOT / "tests" / "golden"
