"""Columns that hold ids of sentences, documents or words, told from columns of words. Pure."""

import re
from collections.abc import Sequence
from itertools import pairwise

MANY = 50  # Among so many words of a text, some word is there twice.
NEARLY_ALL = 0.95


def looks_like_ids(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a column, sentence by sentence, are no words.

    Ids of sentences and documents stand in runs, ids of words are nearly never there twice, and
    numbers of words are numbers throughout.

    >>> looks_like_ids([["d1", "d1", "d1"], ["d2", "d2"]]), looks_like_ids([["1-1", "1-2", "1-3"]])
    (True, True)
    >>> looks_like_ids([["Ann", "met", "Ann"], ["Bob", "won"]])
    False
    """
    cells = [cell for sentence in sentences for cell in sentence]
    pairs = [pair for sentence in sentences for pair in pairwise(sentence)]
    equal = sum(first == second for first, second in pairs)
    with_digit = sum(re.search(r"\d", cell) is not None for cell in cells)
    differ = len(set(cells)) > 1 or len(sentences) > 1 or with_digit > 0
    if differ and equal > 1 and 2 * equal >= len(pairs):
        return True
    if len(cells) < 3:
        return False
    if all(cell.isdecimal() for cell in cells):
        return True
    is_unique = len(set(cells)) >= NEARLY_ALL * len(cells)
    return is_unique and (with_digit >= NEARLY_ALL * len(cells) or len(cells) >= MANY)


def columns_with_examples(columns: Sequence[tuple[object, str]]) -> str:
    """Names of columns with a cell of each, for a message.

    >>> columns_with_examples([(0, "1-1"), (1, "Ann")])
    "0 ('1-1'), 1 ('Ann')"
    """
    return ", ".join(f"{name} ({cell[:30]!r})" for name, cell in columns)


def is_one_word(cell: str) -> bool:
    """True if no blank, tab or line break parts a cell; a no-break space belongs to a word.

    >>> is_one_word("10\\u00a0000 "), is_one_word("Ann Lee")
    (True, False)
    """
    return not re.search(r"[ \t\r\n]", cell.strip(" \t\r\n"))
