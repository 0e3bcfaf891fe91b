import pytest

from pipeline.video.types import Selection, check_size
from schemas.errors import MediaError


def test_selection_is_by_names_or_by_indices():
    with pytest.raises(ValueError, match="not by both"):
        Selection(names=("a",), indices=(0,))
    with pytest.raises(ValueError, match="at least 1"):
        Selection(step=0)


def test_resolve():
    assert Selection(step=3).resolve("clip", 9, None) is None
    assert Selection(indices=(5, 1, 5)).resolve("clip", None, None) == (1, 5)
    assert Selection(names=("b", "a")).resolve("clip", 2, ("a", "b")) == (0, 1)
    assert Selection(names=("00002", "1")).resolve("clip", 3, None) == (1, 2)


def test_a_lists_own_order_wins_over_natural_order_or_is_refused():
    names = ("frame_2", "frame_10")
    assert Selection(names=names, is_sequence=True).resolve("clip", 2, names) == (0, 1)
    with pytest.raises(MediaError, match="lists frame_10 before frame_2, but in natural order the folder") as caught:
        Selection(names=names[::-1], is_sequence=True).resolve("clip", 2, names)
    assert caught.value.status == "bad_row"
    assert Selection(names=("00002", "00001"), is_sequence=True).resolve("clip.mp4", 3, None) == (1, 2)  # are numbers


@pytest.mark.parametrize("size", [(0, 10), (100_000, 1), (16_000, 16_000)])
def test_absurd_sizes(size):
    with pytest.raises(MediaError) as caught:
        check_size(*size, "clip")
    assert caught.value.status == "bad_row"
