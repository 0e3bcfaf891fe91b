"""The terminal side of the commands: options, help, progress and tables."""
