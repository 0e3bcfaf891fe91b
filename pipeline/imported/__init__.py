"""Masks that another tool wrote become units of a run."""
