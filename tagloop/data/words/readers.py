"""Files and datasets -> rows of words and tags, one at a time, with the place of every error.

A `Row` is a sentence: tags as the source has them (strings, in the source's own scheme), None where
a word has no gold tag. Text is only ever split at the bytes that the format names: U+0085, U+2028
and a no-break space are parts of real tokens.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from tagloop.data.annotations.alignment import read_annotated
from tagloop.data.annotations.brat import read_brat
from tagloop.data.annotations.tools import read_records, tool_of
from tagloop.data.annotations.word_spans import has_word_spans, read_word_spans
from tagloop.data.csv_rows import parse_literal
from tagloop.data.formats import detect_format
from tagloop.data.lines import SNIFFED_LINES
from tagloop.data.row import Choices, Found, Row, Sentences
from tagloop.data.tables import Table, open_table
from tagloop.data.words.columns import read_columns
from tagloop.data.words.sentences import WORDS, read_sentences, usual_column
from tagloop.errors import InputError

GLINER = "GLiNER"
LONGEST_WORD = 100_000  # characters
LISTS = (list, tuple, dict)


def read_source(
    source: Any, split: str, choices: Choices, before: Sequence[Found] = ()
) -> Sentences:
    """The sentences of a split; every format of `data.formats` is read here.

    A word of more than LONGEST_WORD characters is refused: tokenizers need memory for its square.

    Args:
        source: a file (Path), a datasets.Dataset, or a list of dicts.
        split: words to tag ("predict") need no tags; those of any other split do.
        before: found in the tagged splits that were read before, in order: words to tag have
            their tags, if any, where those had theirs.

    Raises:
        InputError: an unknown format, or a row that cannot be read; the message begins with its
            place. Rows are read, and raise, as they are asked for.
    """
    found, rows = _read_source(source, split, choices, before)
    return Sentences(found, map(_without_giants, rows))


def _without_giants(row: Row) -> Row:
    for index, word in enumerate(row.tokens):
        if len(word) > LONGEST_WORD:
            raise InputError(
                f"{row.place_of(index)}: a word of {len(word):,} characters ({word[:30]!r}...); "
                "split the text into words"
            )
    return row


def _read_source(source: Any, split: str, choices: Choices, before: Sequence[Found]) -> Sentences:
    tagged = split != "predict"
    format = detect_format(source, tagged=tagged)
    if format.name == "brat":
        found = Found("text from .txt, spans from .ann (brat)", scheme="IOB2")
        records = read_brat(source, found, tagged=tagged)
        return Sentences(found, read_annotated(records, choices, found, tagged=tagged))
    if format.holds == "columns":
        conllu = format.name == "conllu"
        return read_columns(source, choices, conllu=conllu, tagged=tagged, before=before)
    table = open_table(source, split)
    tool = _annotation_tool(table, choices)
    if tool is None:
        return read_sentences(table, choices, tagged=tagged, before=before)
    found = Found(f"text and spans of {tool}", scheme="IOB2")
    if tool == GLINER:
        found = Found("words and spans of words (GLiNER)", scheme="IOB2")
        return Sentences(found, read_word_spans(table.rows(), choices, found, tagged=tagged))
    records = read_records(_parsed_rows(table), choices, found, tagged=tagged)
    return Sentences(found, read_annotated(records, choices, found, tagged=tagged))


def _parsed_rows(table: Table) -> Iterator[tuple[str, dict]]:
    """The rows; a cell of a CSV that holds a list is that list."""
    if not table.has_text_cells:
        return table.rows()
    return (
        (place, {name: _list_or_text(cell) for name, cell in row.items()})
        for place, row in table.rows()
    )


def _list_or_text(cell: str) -> list | str:
    found = parse_literal(cell)
    return cell if found is None else found


def _annotation_tool(table: Table, choices: Choices) -> str | None:
    """Whose export a table is, as the first row that tells shows; None for rows with words."""
    if not table.columns:
        return None
    if table.has_text_cells:
        return _tool_of_cells(table)
    for place, row in islice(table.rows(), SNIFFED_LINES):
        if has_word_spans(row) and choices.text_column in (None, "tokenized_text"):
            return GLINER
        column = choices.text_column or usual_column(list(row), WORDS)
        words = row.get(column) if column else None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return None
        tool = tool_of(row)
        if tool is None:
            _refuse_rows_inside(row, place)
        if tool == "spaCy 2":
            raise InputError(
                f"{place}: this is the JSON of spaCy 2; convert it with its own `spacy convert`, "
                'or write rows like {"text": "Ann won", "spans": [{"start": 0, "end": 3, "label": '
                '"PER"}]}'
            )
        if tool:
            return tool
    return None


def _refuse_rows_inside(row: dict, place: str) -> None:
    """Raise InputError if an object has no cells of its own, and all its rows inside."""
    inner = {
        name: cell
        for name, cell in row.items()
        if isinstance(cell, dict)
        or (isinstance(cell, list) and cell and all(isinstance(item, dict) for item in cell))
    }
    if inner and len(inner) == len(row):
        raise InputError(
            f"{place}: one object, whose rows are inside of {', '.join(map(repr, inner))}; write "
            'the array with the texts alone, or one object a line: {"text": "Ann won", "spans": '
            '[{"start": 0, "end": 3, "label": "PER"}]}'
        )


def _tool_of_cells(table: Table) -> str | None:
    """Whose export a CSV is: one with a text, and a cell that holds a list of spans."""
    for _, row in islice(_parsed_rows(table), SNIFFED_LINES):
        spans = [cell for cell in row.values() if isinstance(cell, list)]
        if any(cell and all(isinstance(item, LISTS) for item in cell) for cell in spans):
            return tool_of(row)
    return None
