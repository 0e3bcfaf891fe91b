"""The largest input of a model that options, recipes and checkpoints may ask for: frames of it must fit in memory."""

MAX_SHORT_SIDE = 4096  # pixels; published models take 360, 1008 and 1024
MAX_LONG_SIDE = 4 * MAX_SHORT_SIDE
