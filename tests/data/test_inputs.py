"""What a program gives a predictor: texts, words and pairs, and no rows of tables."""

import numpy as np
import pytest

from tagloop.data.csv_rows import parse_list
from tagloop.data.documents.reading import listed, listed_texts
from tagloop.errors import InputError


def test_texts_words_and_pairs_are_inputs():
    items = ["a", ["b", "c"], ("b c", ["b", "c"]), ("d", "e"), []]
    assert listed(items) == items
    assert listed("a") == listed(("a",)) == ["a"]
    assert listed([np.array(["b", "c"]), np.str_("d")]) == [["b", "c"], "d"]
    assert listed(text for text in ["a"]) == ["a"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": "Ann"}, "the inputs are {'text': 'Ann'}"),
        (b"Ann", "the inputs are b'Ann'"),
        (None, "the inputs are None"),
        (["a", {"question": "Who?", "context": "Ann."}], r"inputs\[1\] holds {'question'"),
        ([float("nan")], r"inputs\[0\] holds nan"),
        ([None], r"inputs\[0\] holds None"),
        ([["a", None]], r"inputs\[0\] holds \['a', None\]"),
        ([("a", [1])], r"inputs\[0\] holds"),
        (["a\ud800"], r"inputs\[0\]: half a character"),
        ([["a", "b\ud800"]], r"inputs\[0\]: half a character"),
    ],
)
def test_anything_else_is_refused(inputs, message):
    with pytest.raises(InputError, match=message):
        listed(inputs)


def test_words_are_no_text():
    with pytest.raises(InputError, match=r"inputs\[0\] holds \['a', 'b'\]; give one text"):
        listed_texts([["a", "b"]])


def test_a_cell_that_python_cannot_evaluate_holds_words(tmp_path):
    """{[1]: 2} is written as a dict, but no list can be a key."""
    assert parse_list("[{[1]: 2}]", "a.csv:2", "tokens", is_text=True) == ["[{[1]:", "2}]"]
