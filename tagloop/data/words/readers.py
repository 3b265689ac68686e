"""Files and datasets -> rows of words and tags, one at a time, with the place of every error.

A `Row` is a sentence: tags as the source has them (strings, in the source's own scheme), None where
a word has no gold tag. Text is only ever split at the bytes that the format names: U+0085, U+2028
and a no-break space are parts of real tokens.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from tagloop.data.annotations.alignment import read_annotated
from tagloop.data.annotations.brat import read_brat
from tagloop.data.annotations.tools import read_records, tool_of
from tagloop.data.formats import detect_format
from tagloop.data.lines import SNIFFED_LINES
from tagloop.data.row import Choices, Found, Sentences
from tagloop.data.tables import Table, open_table
from tagloop.data.words.columns import read_columns
from tagloop.data.words.sentences import WORDS, read_sentences, usual_column
from tagloop.errors import InputError


def read_source(
    source: Any, split: str, choices: Choices, before: Sequence[Found] = ()
) -> Sentences:
    """The sentences of a split; every format of `data.formats` is read here.

    Args:
        source: a file (Path), a datasets.Dataset, or a list of dicts.
        split: words to tag ("predict") need no tags; those of any other split do.
        before: found in the tagged splits that were read before, in order: words to tag have
            their tags, if any, where those had theirs.

    Raises:
        InputError: an unknown format, or a row that cannot be read; the message begins with its
            place. Rows are read, and raise, as they are asked for.
    """
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
    records = read_records(table.rows(), choices, found, tagged=tagged)
    return Sentences(found, read_annotated(records, choices, found, tagged=tagged))


def _annotation_tool(table: Table, choices: Choices) -> str | None:
    """Whose export a table is, as the first row that tells shows; None for rows with words."""
    if not table.columns or table.has_text_cells:
        return None
    for place, row in islice(table.rows(), SNIFFED_LINES):
        column = choices.text_column or usual_column(list(row), WORDS)
        words = row.get(column) if column else None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return None
        tool = tool_of(row)
        if tool == "spaCy 2":
            raise InputError(
                f"{place}: this is the JSON of spaCy 2; convert it with its own `spacy convert`, "
                'or write rows like {"text": "Ann won", "spans": [{"start": 0, "end": 3, "label": '
                '"PER"}]}'
            )
        if tool:
            return tool
    return None
