"""The kinds of synthetic scenes, and the splits. This file imports nothing, so that the command line can use it."""

SPLITS = ("train", "val", "test")
FOCUSES = ("appearance", "size", "motion", "position", "relation", "absence")
STILL_FOCUSES = ("appearance", "size", "position", "relation")  # the focuses that a single frame can show
FEWEST_FRAMES = 4  # of a clip in which shapes move
