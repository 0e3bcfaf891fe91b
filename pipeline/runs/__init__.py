"""A run on disk: its identity, its plan, its committed units (design: a run on disk)."""
