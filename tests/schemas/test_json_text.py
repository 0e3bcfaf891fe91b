"""Whatever is wrong with the JSON of others is a ValueError."""

import pytest

from schemas.json_text import parse, parse_object


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "", b"\xff", "1" * 10_000, '"\ud800'])
def test_odd_json(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"'])
def test_only_objects(text):
    with pytest.raises(ValueError, match="object"):
        parse_object(text)
    assert parse_object(b'{"a": 1}') == {"a": 1}
