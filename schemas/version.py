"""Versions: of the package, and of the code that makes masks."""

__version__ = "0.1.0"

# Part of every run's fingerprint; raised whenever the same weights and options would give other masks.
MASKS_VERSION = 1
