"""Summarise scores: groups, intervals, comparisons, leaderboards."""
