"""The checkpoint in the box, `model/tiny/`: a small ReferFormer that knows moving shapes, not the world."""

from pathlib import Path

BUNDLED = "tiny"  # stands for it wherever the folder of a checkpoint is asked for
FOLDER = Path(__file__).parent / BUNDLED
SHORT_SIDE = 96  # pixels of the frames that it was trained on
KNOWS = "the checkpoint in the box knows simple coloured shapes, not the world; --checkpoint names another"
