"""Whatever is wrong with the JSON of others is a ValueError."""

import pytest

from schemas import json_text
from schemas.json_text import parse, parse_object


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "", b"\xff", "1" * 10_000, '"\ud800'])
def test_odd_json(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize("digits", [1001, 5000])
def test_long_numbers_are_told_in_our_own_words(digits):
    """Python advises to call a function of its own."""
    with pytest.raises(ValueError, match=f"^a number in it has {digits} digits; the most are 1000$"):
        parse(f'{{"a": [{"9" * digits}]}}')
    assert parse("9" * 1000) == 10**1000 - 1


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


def test_doubled_keys_take_linear_time():
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    with pytest.raises(ValueError, match="duplicate key '299999'"):
        parse("{" + keys + ',"299999":1}', unique_keys=True)  # quadratic: an hour
