"""Versions: of the package, and of the code that makes masks."""

__version__ = "0.1.0"

# Part of every run's fingerprint; raised whenever the same weights and options would give other masks. A golden digest
# in tests/golden/masks.json belongs to each number.
MASKS_VERSION = 2
