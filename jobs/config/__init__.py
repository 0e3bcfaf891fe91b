"""Options of each command: one dataclass for a command, its docstring is the help text."""
