"""Tables -> rows of words and tags: a list of words in each row, or one word a row."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from tagloop.data.lines import SNIFFED_LINES
from tagloop.data.parsing import parse_list
from tagloop.data.row import DOCUMENT_START, Choices, Found, Row, Sentences
from tagloop.data.tables import Table
from tagloop.data.words.schemes import is_span_tag
from tagloop.data.words.tags import TagReader, numbers_sentences
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

WORDS = ("tokens", "words", "token", "word")  # usual names of columns, in any case
TAGS = ("tags", "tag", "labels", "label")


class Cells(NamedTuple):
    """A sentence before its cells are taken for words and tags."""

    place: str
    tokens: Any
    tags: Any
    lines: list[int] | None  # of the words, where each stands on a line of its own


def read_sentences(
    table: Table, choices: Choices, *, tagged: bool, before: Sequence[Found] = ()
) -> Sentences:
    """The sentences of a table; a row with the words -DOCSTART- alone begins a document.

    It stays a row, without a gold tag, so that predictions have a line for every row.

    Args:
        tagged: every word needs a tag.
        before: found in the tagged splits that were read before, in order.

    Raises:
        InputError: the table has no column that is wanted, or a row cannot be read.
    """
    if not table.columns:
        _refuse_no_columns(table, choices)
        return Sentences(Found(), iter(()))
    text, label = find_columns(table, choices, tagged=tagged, before=before)
    columns = f"words from {text!r}" + (f", tags from {label!r}" if label else "")
    names = table.class_names(label) if label else None
    found = Found(columns, label_column=label if tagged else None)
    read_tag = TagReader(choices, names, tagged, columns)
    return Sentences(found, _rows(table, text, label, read_tag, tagged))


def _refuse_no_columns(table: Table, choices: Choices) -> None:
    """Raise InputError unless the table has no rows either."""
    for place, row in table.rows():
        raise InputError(
            f"{place}: no columns; name them, for example tokens and {choices.kind.column_names[0]}"
            if not row
            else f"{place}: the first row has no columns, this one has {', '.join(row)}"
        )


def _rows(
    table: Table, text: str, label: str | None, read_tag: TagReader, tagged: bool
) -> Iterator[Row]:
    document = -1
    for place, tokens, tags, lines in _sentences(table, text, label, tagged):
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise InputError(
                f"{place}: column {text!r} holds {shown(tokens)}, not a list of strings; "
                f"split the text into words, or give --text_column_name "
                f"({', '.join(table.columns)})"
            )
        tags = [None] * len(tokens) if tags is None else tags
        if not isinstance(tags, list):
            raise InputError(
                f"{place}: column {label!r} holds {shown(tags)}, not a list of tags; "
                f"give --label_column_name ({', '.join(table.columns)})"
            )
        if len(tokens) != len(tags):
            raise InputError(
                f"{place}: {count(len(tokens), 'token')} but {count(len(tags), 'tag')} (columns "
                f"{text!r} and {label!r}); write one tag for every token"
            )
        require_whole("".join([*tokens, *map(str, tags)]), place)
        row = Row(tokens, [], document, place, lines)
        if tokens == [DOCUMENT_START]:
            document += 1
            row = row._replace(tags=[None])
        else:
            document = max(document, 0)
            row.tags.extend(read_tag(tag, place) for tag in tags)
        yield row._replace(document=document)


def find_columns(
    table: Table, choices: Choices, *, tagged: bool, before: Sequence[Found] = ()
) -> tuple[str, str | None]:
    """The text and the tag column: as given, else by the usual names, else first and second.

    Names and order as in transformers' run_ner_no_trainer.py, and a few more names before the
    order decides. Untagged data never takes a column by its position: it might be anything.

    Raises:
        InputError: there is no such column.
    """
    where, columns = table.where, table.columns
    known = f"the columns there: {', '.join(columns)}"
    for option, chosen in (
        ("--text_column_name", choices.text_column),
        ("--label_column_name", choices.label_column if tagged else None),
    ):
        if chosen is not None and chosen not in columns:
            raise InputError(f"{where}: no column {chosen!r} ({option}); {known}")
    by_order = [name for name in columns if name.strip() and name != "Unnamed: 0"] or columns
    text = choices.text_column or usual_column(columns, WORDS) or by_order[0]
    usual = choices.kind.column_names + (TAGS if tagged else ())
    earlier = [found.label_column for found in before if found.label_column]
    if choices.label_column:
        usual = (choices.label_column,)
    elif earlier and not tagged:
        usual = (earlier[-1],)
    label = usual_column([name for name in columns if name != text], usual)
    if label is None and tagged:
        label = by_order[1] if len(by_order) > 1 else text
        if label == text:
            raise InputError(
                f"{where}: no column with tags for the task {choices.kind.name}; {known}; "
                "give --label_column_name, or pass untagged text as --predict_file"
            )
    if label is not None and (label == "O" or is_span_tag(label)) and table.has_text_cells:
        raise InputError(f"{where}: a tag in place of a column's name: {known}; write a header")
    return text, label


def usual_column(columns: list[str], names: Sequence[str]) -> str | None:
    """The column with the first of these names: spelled so, else in another case."""
    exact = next((name for name in names if name in columns), None)
    folded = {column.strip().casefold(): column for column in columns}
    return exact or next((folded[name] for name in names if name in folded), None)


def _sentences(table: Table, text: str, label: str | None, tagged: bool) -> Iterator[Cells]:
    columns = [text] if label is None else [text, label]
    if _is_one_word_a_row(table, text, label):
        yield from _grouped(table, text, label)
        return
    for place, row in table.rows(columns):
        for name in columns if tagged else [text]:
            if name not in row:
                known = ", ".join(row) or "none"
                raise InputError(f"{place}: no column {name!r}; the columns there: {known}")
        tokens, tags = row[text], row.get(label)
        if table.has_text_cells:
            tokens = parse_list(tokens, place, text, is_text=True)
            if tags is not None:
                tags = parse_list(tags, place, label, is_text=False)
        yield Cells(place, tokens, tags, None)


# --- one word a row ---


def _is_one_word_a_row(table: Table, text: str, label: str | None) -> bool:
    """Whether several rows, as far as a look ahead shows, hold a single word and a single tag."""
    columns = [text] if label is None else [text, label]
    rows = [row for _, row in islice(table.rows(columns), SNIFFED_LINES)]
    words = [row.get(text) for row in rows]
    if len(rows) < 2 or not all(isinstance(word, str) for word in words):
        return False
    tags = [row.get(label, "") for row in rows] if label else []
    if any(isinstance(tag, (list, dict)) for tag in tags):
        return False
    tags = [tag for tag in tags if isinstance(tag, str)]
    if any(re.match(r"\[\s*[\"'].*\]$", word) for word in words):
        return False
    if any(re.match(r"\[.*\]$", tag) for tag in tags):
        return False
    return all(len(cell.split()) <= 1 for cell in (*words, *tags))


def _grouped(table: Table, text: str, label: str | None) -> Iterator[Cells]:
    """Gather one word a row to sentences: a column numbers them, or blank lines part them.

    The number may stand on every row or, as in Kaggle's ner_dataset.csv, on the first row alone.
    """
    number = _sentence_column(table, text, label)
    columns = [name for name in (text, label, number) if name is not None]
    if number is None and not any(_is_blank(row) for _, row in table.rows_and_blanks(columns)):
        raise InputError(
            f"{table.where}: one word a row (column {text!r}), and nothing tells where sentences "
            "end; add a column sentence_id, or a blank line after each sentence (where every row "
            'is a whole sentence, write its words as a list: ["Yes"])'
        )
    words, tags, places, current = [], [], [], None
    for place, row in table.rows_and_blanks(columns):
        named = row.get(number) if row is not None and number is not None else None
        begins = _is_blank(row) if number is None else named not in (None, "", current)
        if begins:
            if words:
                yield _gathered(words, tags, places)
                words, tags, places = [], [], []
            current = named
        if not _is_blank(row):
            if text not in row or (label is not None and label not in row):
                raise InputError(f"{place}: this row has the columns {', '.join(row)} only")
            words.append(row[text])
            tags.append(row[label] if label is not None else None)
            places.append(place)
    if words:
        yield _gathered(words, tags, places)


def _is_blank(row: dict | None) -> bool:
    return row is None or not any(cell not in (None, "") for cell in row.values())


def _gathered(words: list, tags: list, places: list[str]) -> Cells:
    lines = [place.rpartition(":")[2] for place in places]
    is_file = all(line.isdecimal() for line in lines)
    return Cells(places[0], words, tags, [int(line) for line in lines] if is_file else None)


def _sentence_column(table: Table, text: str, label: str | None) -> str | None:
    others = [name for name in table.columns if name not in (text, label)]
    return next(filter(numbers_sentences, others), None)
