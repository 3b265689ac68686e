"""Errors of transcripts: words and characters that are wrong, missing or too many.

A rate is the errors of all transcripts, divided by the words (or characters) of all references. A
transcript whose reference is empty has an error for every word that it holds.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

Pair = tuple[str | None, str | None]  # a word of the reference, and the word in its place


def distance(reference: Sequence[str], found: Sequence[str]) -> int:
    """The fewest replaced, missing and additional items between two sequences (Levenshtein).

    >>> distance("one two three".split(), "one three four".split())
    2
    """
    return int(_last_row(*_numbered(reference, found)))


def _numbered(*sequences: Sequence[str]) -> list[np.ndarray]:
    """The items of some sequences as numbers, int64; equal items have equal numbers."""
    number_of: dict[str, int] = {}
    return [
        np.array([number_of.setdefault(item, len(number_of)) for item in items], dtype=np.int64)
        for items in sequences
    ]


def _rows(reference: np.ndarray, found: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of the table of distances between all beginnings, int64 [len(found) + 1] each."""
    columns = np.arange(len(found) + 1)
    row = columns
    yield row
    for item in reference:
        below = np.empty_like(row)
        below[0] = row[0] + 1
        below[1:] = np.minimum(row[:-1] + (found != item), row[1:] + 1)
        # An additional item costs 1 more than the best entry to its left.
        row = np.minimum.accumulate(below - columns) + columns
        yield row


def _last_row(reference: np.ndarray, found: np.ndarray) -> int:
    for row in _rows(reference, found):
        last = row
    return last[-1]


def align(reference: Sequence[str], found: Sequence[str]) -> list[Pair]:
    """The items of two sequences beside each other, with the fewest errors.

    Returns:
        Pairs in order: (item, item), (missing item, None) or (None, additional item).

    >>> align(["a", "b", "c"], ["b", "d"])
    [('a', None), ('b', 'b'), ('c', 'd')]
    """
    table = np.stack([*_rows(*_numbered(reference, found))])
    at, beside = len(reference), len(found)
    pairs: list[Pair] = []
    while at or beside:
        if at and beside:
            cost = reference[at - 1] != found[beside - 1]
            if table[at, beside] == table[at - 1, beside - 1] + cost:
                at, beside = at - 1, beside - 1
                pairs.append((reference[at], found[beside]))
                continue
        if at and table[at, beside] == table[at - 1, beside] + 1:
            at -= 1
            pairs.append((reference[at], None))
        else:
            beside -= 1
            pairs.append((None, found[beside]))
    return pairs[::-1]


def word_errors(references: Iterable[str], found: Iterable[str]) -> np.ndarray:
    """Errors and words of every transcript, int64 [num_transcripts, 2]."""
    pairs = [(one.split(), other.split()) for one, other in zip(references, found, strict=True)]
    counts = [(distance(words, others), len(words)) for words, others in pairs]
    return np.array(counts, dtype=np.int64).reshape(-1, 2)


def character_errors(references: Iterable[str], found: Iterable[str]) -> np.ndarray:
    """Errors and characters of every transcript, int64 [num_transcripts, 2].

    Words are parted by one blank, which counts as a character.
    """
    pairs = [
        (" ".join(one.split()), " ".join(other.split()))
        for one, other in zip(references, found, strict=True)
    ]
    counts = [(distance(text, other), len(text)) for text, other in pairs]
    return np.array(counts, dtype=np.int64).reshape(-1, 2)


def rate_of(counts: np.ndarray) -> float | None:
    """Errors divided by the length of the references; None if all references are empty.

    Args:
        counts: int64 [num_transcripts, 2], errors and lengths.
    """
    errors, length = counts.sum(0)
    return float(errors / length) if length else None


def normalize(text: str) -> str:
    """A text in lower case, without punctuation and symbols; the marks of letters stay.

    >>> normalize("It's 5 o'clock, Mr. Li!")
    'its 5 oclock mr li'
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = (" " if unicodedata.category(one)[0] in "PS" else one for one in text if one not in "'’")
    return " ".join("".join(kept).split())
