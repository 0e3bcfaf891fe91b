import numpy as np

from pipeline.drawing.thumbnails import blank_frame, shrink


def test_a_blank_frame_has_the_size_of_a_shrunk_one():
    for height, width in ((1, 1), (240, 320), (1080, 1920), (3000, 10)):
        assert blank_frame(height, width).shape == shrink(np.zeros((height, width, 3), np.uint8)).shape
    assert blank_frame(16_384, 16_384).shape == (240, 240, 3)
