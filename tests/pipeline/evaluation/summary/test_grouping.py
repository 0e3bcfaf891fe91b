"""Values by which scores are broken down."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.summary.grouping import Grouping, sentence_attributes, spell_out, value_label, value_order
from schemas.errors import InputError


def values(text, **columns):
    found = Grouping.parse(text).values(pd.DataFrame({name: pd.Series(column) for name, column in columns.items()}))
    return [[value_label(value) for value in cell] for cell in found]


def test_plain_values_lists_and_missing_ones():
    assert values("kind", kind=["a", None, "b"]) == [["a"], ["(none)"], ["b"]]
    assert values("tags", tags=[["OCC", "FM", "FM"], [], None]) == [["FM", "OCC"], ["(none)"], ["(none)"]]
    assert values("size", size=[1.0, 2.5, np.nan]) == [[1], [2.5], ["(none)"]]
    assert values("flag", flag=[True, False]) == [[True], [False]]


def test_bins_by_edges_hold_their_lower_end():
    assert values("words:4/8", words=[3, 4, 7, 8, 20]) == [["< 4"], ["4 to 8"], ["4 to 8"], [">= 8"], [">= 8"]]


def test_quantiles_are_about_equal_and_many_numbers_become_quartiles():
    for text in ("x:q4", "x"):
        found = values(text, x=list(range(100)))
        counts = pd.Series([cell[0] for cell in found]).value_counts()
        assert counts.tolist() == [25] * 4
    assert values("x:q3", x=[5.0, 5.0, 5.0]) == [[5]] * 3  # nothing to cut


def test_crossed_values():
    found = values("kind,words:5", kind=[["a", "b"], ["a"]], words=[3, 9])
    assert found == [["a × < 5", "b × < 5"], ["a × >= 5"]]


def test_order():
    cells = ["b", "(none)", 10, 2.5, "a"]
    assert sorted(cells, key=value_order) == [2.5, 10, "a", "b", "(none)"]


@pytest.mark.parametrize("text", ["", "x:", "x:q0", "x:8/4", "x:a/b", "x:1/1", "a,,b", "x:1/2/"])
def test_what_is_not_understood(text):
    with pytest.raises(InputError, match="not understood"):
        Grouping.parse(text)


def test_only_numbers_are_binned():
    with pytest.raises(InputError, match="only numbers"):
        values("kind:q4", kind=["a", "b"])


def test_words_and_expressions_per_video():
    manifest = pd.DataFrame({"video_id": ["a", "a", "b"], "expression": ["the red  car", None, "dog"]})
    found = sentence_attributes(manifest)
    assert found["words"].tolist() == [3, 0, 1]
    assert found["expressions_per_video"].tolist() == [2, 2, 1]


def test_combined_fractions_are_short():
    assert value_label((4, 12.062143073778875, "a", 3.0)) == "4 × 12.06 × a × 3"


def test_labels_of_tables_have_one_line():
    assert [spell_out(value) for value in ("a\nb", "a\r\n\tb ", "a\u2028b", 0.12345, 3)] == [
        *("a b", "a b", "a\\u2028b", "0.1235", "3")
    ]
