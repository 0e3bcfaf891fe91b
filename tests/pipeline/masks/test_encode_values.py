"""Label maps are encoded value by value, as `rle.encode` does; noise is refused before it takes memory."""

import numpy as np
import pytest

from pipeline.masks import encode_values as module
from pipeline.masks.encode_values import encode_values
from schemas import rle


def test_many_values_give_the_same_strings():
    image = np.random.default_rng(0).integers(0, 3000, (60, 70)).astype(np.uint16)
    found = encode_values(image)
    assert list(found) == sorted(set(image.ravel().tolist()) - {0})
    for value, mask in found.items():
        assert mask.counts == rle.encode((image == value)[None])[0]
        assert mask.pixels == (image == value).sum()


def test_noise_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_STRETCHES", 1000)
    with pytest.raises(ValueError, match="noise, not objects"):
        encode_values(np.random.default_rng(0).integers(0, 3000, (60, 70)).astype(np.uint16))
