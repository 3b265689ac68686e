"""Rows of words with spans of whole words, as GLiNER has them -> words with tags (IOB2).

    {"tokenized_text": ["Ann", "Lee", "won"], "ner": [[0, 1, "person"]]}

A span is the number of its first and of its last word, counted from 0, and its label.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tagloop.data.annotations.alignment import (
    FirstFew,
    MarkedWords,
    keep_longest,
    report_lost,
    tags_of,
)
from tagloop.data.annotations.spans import Span
from tagloop.data.row import Choices, Found, Row
from tagloop.data.words.documents import DocumentCounter
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

WORDS = "tokenized_text"


def has_word_spans(row: Any) -> bool:
    """Whether a row is one of GLiNER's.

    >>> has_word_spans({"tokenized_text": ["Ann"], "ner": []})
    True
    """
    return isinstance(row, dict) and isinstance(row.get(WORDS), list)


def without_word_spans(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A copy of a row; one of GLiNER's has its words as `tokens` there, and no spans.

    Args:
        names: usual names of the column with the spans, which may be empty.

    >>> row = {"tokenized_text": ["Ann"], "spans": [[0, 0, "person"]], "type": [], "topics": []}
    >>> without_word_spans(row, ["type"])
    {'topics': [], 'tokens': ['Ann']}
    """
    if not has_word_spans(row):
        return dict(row)
    others = {
        name: cell
        for name, cell in row.items()
        if name not in (WORDS, *names) and not _holds_spans(cell)
    }
    return others | {"tokens": row[WORDS]}


def _holds_spans(cell: Any) -> bool:
    return (
        bool(cell)
        and _holds_lists(cell)
        and all([*map(type, item)] == [int, int, str] for item in cell)
    )


def _holds_lists(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(item, list) for item in cell)


def read_word_spans(
    rows: Iterable[tuple[str, dict]], choices: Choices, found: Found, *, tagged: bool
) -> Iterator[Row]:
    """Yield a row for every (place, row) pair; `tagged=False`: without tags.

    Of spans that share a word the longest is kept; the others are counted in found.lost, after the
    last row.

    Raises:
        InputError: a row that is not as GLiNER has it, or the tags that are wanted mark no spans.
    """
    overlapping, kept_types = FirstFew(), set()
    renamed: dict[str, str] = {}
    types: Counter[str] = Counter()
    documents = DocumentCounter(choices.document_column, found)
    for place, row in rows:
        words = row.get(WORDS)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{place}: {WORDS} holds {shown(words)}, not a list of words")
        require_whole("".join(words), place)
        number = documents.number_of(row, words)
        if not tagged:
            yield Row(words, [None] * len(words), number, place)
            continue
        if not choices.kind.has_spans:
            raise InputError(
                f"{place}: spans of words, but --task_name {choices.kind.name} needs a tag for "
                "every word; give the --task_name of a task whose tags mark spans"
            )
        column = choices.label_column or _span_column(row, choices.kind.column_names, place)
        items = row.get(column)
        if not isinstance(items, list):
            raise InputError(
                f"{place}: no column with a list of spans beside {WORDS}; the columns there: "
                f"{', '.join(row)}"
            )
        marked = [_marked(item, words, f"{place}: column {column!r}") for item in items]
        types.update(item.span.label for item in marked)
        kept, others = keep_longest(marked)
        for item, longer in others:
            overlapping.add(f"{place}: {_shown(item, words)} and {_shown(longer, words)}")
        tags: list[str | None] = ["O"] * len(words)
        for first, end, span in kept:
            kept_types.add(span.label)
            tags[first:end] = tags_of(span.label, end - first, renamed)
        yield Row(words, tags, number, place)
    report_lost(found, overlapping, renamed, types, kept_types)


def _span_column(row: dict, names: Sequence[str], place: str) -> str | None:
    """The column with the spans: by a usual name, else the only one with a list of lists.

    Args:
        names: the usual ones.

    Raises:
        InputError: several columns hold lists of lists.
    """
    if named := [name for name in names if isinstance(row.get(name), list)]:
        return named[0]
    lists = {name: cell for name, cell in row.items() if name != WORDS and isinstance(cell, list)}
    others = [name for name, cell in lists.items() if _holds_lists(cell)]
    if len(others) > 1:
        raise InputError(
            f"{place}: which column holds the spans, {' or '.join(map(repr, others))}? give "
            "--label_column_name"
        )
    return others[0] if others else None


def _marked(item: Any, words: list[str], place: str) -> MarkedWords:
    """The words that an item of the spans marks."""
    numbers = [str(number) for number in item[:2]] if isinstance(item, list | tuple) else []
    is_span = len(numbers) == 2 and len(item) == 3 and isinstance(item[2], str) and item[2].strip()
    if not is_span or not all(n.isdecimal() and len(n) < 10 for n in numbers):
        raise InputError(
            f"{place}: {shown(item)} is no span; write [first word, last word, label], "
            'words counted from 0: [0, 1, "person"]'
        )
    first, last = map(int, numbers)
    if not first <= last < len(words):
        raise InputError(
            f"{place}: the span {first}-{last} ({item[2]}) is outside of "
            f"{count(len(words), 'word')}, or ends before it begins; words count from 0"
        )
    return MarkedWords(first, last + 1, Span(first, last + 1, item[2], place))


def _shown(item: MarkedWords, words: list[str]) -> str:
    return f"{shown(' '.join(words[item.first : item.end]))} ({item.span.label})"
