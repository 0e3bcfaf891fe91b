"""The bundled checkpoint, `model/tiny/`: a small ReferFormer trained on moving shapes."""

from pathlib import Path

BUNDLED = "tiny"  # accepted wherever a checkpoint folder is named
FOLDER = Path(__file__).parent / BUNDLED
NOTE = "no --checkpoint is given; the bundled one knows simple coloured shapes, not the world"
