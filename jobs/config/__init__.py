"""Options of the commands: one module for each job of the same name, which imports nothing heavy.

`jobs.config.options` explains how to declare them. A new option is a new field; `cli.py` follows.
"""
