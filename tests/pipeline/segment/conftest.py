import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(folder / f"{i:05}.png")
    return str(folder)
