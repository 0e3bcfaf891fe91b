"""Score predicted masks against annotated ones."""
