"""The Python interface that `refervos` exports: one video in this process, and the results of runs as tables."""
