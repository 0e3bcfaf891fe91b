"""Colours are those of the program `ffmpeg`, which made the PNGs in tests/golden/colours from the videos there."""

import numpy as np
import pytest
from PIL import Image

from pipeline.video import Selection, read_frames


@pytest.mark.parametrize("name", ["10-bit", "hdr", "odd", "interlaced", "common"])
def test_pictures_equal_those_of_ffmpeg(golden, name):
    (frame,) = read_frames(str(golden / "colours" / f"{name}.mkv"), Selection())
    with Image.open(golden / "colours" / f"{name}.png") as expected:
        np.testing.assert_array_equal(frame.image, np.array(expected))
