"""The main job, one unit after the other: decode, run the model, write the masks."""
