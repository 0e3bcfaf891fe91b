import pytest

from pipeline.runs.shard import Shard
from schemas.errors import InputError


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_each_unit_is_in_one_shard(count):
    units = list(range(23))
    shares = [Shard(number, count).of(units) for number in range(1, count + 1)]
    assert sorted(unit for share in shares for unit in share) == units
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("planned", [0, 1, 4, 5])
def test_units_that_are_added_leave_others_in_their_shard(planned):
    units = list("abcdefgh")
    for number in (1, 2, 3):
        shard = Shard(number, 3)
        assert shard.of(units) == shard.of(units[:planned]) + shard.of(units[planned:], before=planned)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "0/0", "4", "1/", "/4", "a/4", "-1/4", "1/4/2", "1 / 4", "", "1.0/4", "١/4x"]
)
def test_what_is_no_shard(text):
    with pytest.raises(InputError, match=r"^--shard must be I/N with I from 1 to N, as in 1/4 and 4/4, got "):
        Shard.parse(text)


def test_parse():
    assert Shard.parse("3/8") == Shard(3, 8)
    assert Shard.parse("01/08") == Shard(1, 8)  # as arrays of jobs may write them
