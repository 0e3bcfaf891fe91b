"""What a command prints and how it is typed."""
