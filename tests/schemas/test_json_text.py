"""Whatever is wrong with the JSON of others is a ValueError."""

import pytest

from schemas import json_text
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


def test_more_values_than_fit_are_refused_before_they_take_memory():
    assert len(parse(b"[" + b"{}," * 1000 + b"1]")) == 1001
    for text in (b"[" + b"{}," * 2**22 + b"{}]", "[" + "[]," * 2**22 + "[]]", b'{"a":[' + b"1," * 2**23 + b"1]}"):
        with pytest.raises(ValueError, match=f"more than {json_text.MAX_VALUES} values"):
            parse(text)
