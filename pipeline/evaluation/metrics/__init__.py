"""The metrics: pixel counts of one frame, numbers of one pair, average precision over all pairs."""
