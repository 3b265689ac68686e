"""Error rates of transcripts, on cases worked out by hand."""

import functools
import random

import pytest

from tagloop.tasks.speech.scores import (
    align,
    character_errors,
    distance,
    normalize,
    rate_of,
    word_errors,
)


@functools.cache
def slow_distance(one: tuple, other: tuple) -> int:
    """The definition."""
    if not (one and other):
        return len(one) + len(other)
    same = slow_distance(one[:-1], other[:-1]) + (one[-1] != other[-1])
    return min(same, slow_distance(one[:-1], other) + 1, slow_distance(one, other[:-1]) + 1)


def test_distance_and_alignment_are_those_of_the_definition():
    draw = random.Random(3)
    for _ in range(300):
        one, other = (draw.choices("abc", k=draw.randint(0, 6)) for _ in range(2))
        expected = slow_distance(tuple(one), tuple(other))
        assert distance(one, other) == expected
        pairs = align(one, other)
        assert sum(left != right for left, right in pairs) == expected
        assert [left for left, _ in pairs if left is not None] == one
        assert [right for _, right in pairs if right is not None] == other


@pytest.mark.parametrize(
    ("references", "found", "rate"),
    [
        # Of the corpus, not the mean of 1/1 and 1/9.
        (["a", "b c d e f g h i j"], ["x", "b c d e f g h i"], 2 / 10),
        ([""], [""], None),
        ([""], ["a b"], None),
        (["", "a b"], ["c d", "a b"], 2 / 2),  # What is written into silence counts.
        (["a b"], [""], 1.0),
        (["a"], ["a b c"], 2.0),
        (["Mr. Li"], ["mr li"], 1.0),  # The texts are compared as they are.
    ],
)
def test_word_error_rate(references, found, rate):
    assert rate_of(word_errors(references, found)) == rate


def test_character_error_rate_counts_blanks_once():
    assert rate_of(character_errors(["ab  cd"], ["abcd"])) == 1 / 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“It's 5 o'clock,” said Mr. Li!", "its 5 oclock said mr li"),
        ("हिन्दी में", "हिन्दी में"),  # The marks of letters part no words.
        ("Straße", "strasse"),
        ("", ""),
    ],
)
def test_normalized_text(text, expected):
    assert normalize(text) == expected
