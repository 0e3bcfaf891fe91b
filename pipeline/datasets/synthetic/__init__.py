"""Synthetic videos of moving shapes with exact masks."""
