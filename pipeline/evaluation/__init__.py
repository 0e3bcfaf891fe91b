"""Score predicted masks against annotated ones: join, J and F per frame, means per pair and per attribute."""
