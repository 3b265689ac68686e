"""Tables -> rows of words and tags: a list of words in each row, or one word a row."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tagloop.data.csv_rows import parse_list, parse_literal
from tagloop.data.row import DOCUMENT_START, Choices, Found, Row, Sentences
from tagloop.data.tables import Table
from tagloop.data.words.documents import document_key, names_documents
from tagloop.data.words.schemes import is_span_tag
from tagloop.data.words.tags import TagReader, numbers_sentences
from tagloop.data.words.word_rows import Cells, group_words, is_one_word_a_row, refuse_ids
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

WORDS = ("tokens", "words", "token", "word")  # usual names of columns, in any case
TEXTS = ("text", "sentence")  # of columns that may hold words between blanks
TAGS = ("tags", "tag", "labels", "label")


def read_sentences(
    table: Table, choices: Choices, *, tagged: bool, before: Sequence[Found] = ()
) -> Sentences:
    """The sentences of a table; a row with the words -DOCSTART- alone begins a document.

    It stays a row, without a gold tag, so that predictions have a line for every row. A column may
    name documents, too: a document begins where the name changes.

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
    if choices.text_column is None and text not in WORDS:
        refuse_ids(table, text, tagged=tagged)
    columns = f"words from {text!r}" + (f", tags from {label!r}" if label else "")
    names = table.class_names(label) if label else None
    found = Found(columns, label_column=label if tagged else None)
    read_tag = TagReader(choices, names, tagged, columns)
    cells = _sentences(table, text, label, choices.document_column, tagged)
    return Sentences(found, _rows(table, text, label, cells, read_tag, found))


def _refuse_no_columns(table: Table, choices: Choices) -> None:
    """Raise InputError unless the table has no rows either."""
    for place, row in table.rows():
        raise InputError(
            f"{place}: no columns; name them, for example tokens and {choices.kind.column_names[0]}"
            if not row
            else f"{place}: the first row has no columns, this one has {', '.join(row)}"
        )


def _rows(
    table: Table,
    text: str,
    label: str | None,
    cells: Iterator[Cells],
    read_tag: TagReader,
    found: Found,
) -> Iterator[Row]:
    document, before = -1, None
    for place, tokens, tags, lines, key in cells:
        tokens, tags = _checked(tokens, tags, place, text, label, table.columns)
        row = Row(tokens, [], document, place, lines)
        if key is not None and key != before:
            found.documents = found.documents or "a column"
            document, before = document + 1, key
        if tokens == [DOCUMENT_START]:
            found.documents = f"rows {DOCUMENT_START}"
            document += 1
            row = row._replace(tags=[None])
        else:
            document = max(document, 0)
            row.tags.extend(read_tag(tag, place) for tag in tags)
        yield row._replace(document=document)
    read_tag.finish(found)


def _checked(
    tokens: Any, tags: Any, place: str, text: str, label: str | None, columns: Iterable[str]
) -> tuple[list[str], list]:
    """The words and the tags of a row, a tag for every word.

    Args:
        tokens, tags: what the cells of the columns `text` and `label` hold; tags may be None.
        place: file and line of the row, for messages.
        columns: the names of all columns of the table, for messages.

    Raises:
        InputError: the cells hold something else; the message says what it looks like.
    """
    if isinstance(tokens, list) and any(isinstance(token, list) for token in tokens):
        raise InputError(
            f"{place}: column {text!r} holds {shown(tokens)}: a document, a list of sentences; "
            "write one row for each sentence"
        )
    if isinstance(tags, list) and any(isinstance(tag, list | tuple | dict) for tag in tags):
        raise InputError(
            f"{place}: column {label!r} holds {shown(tags)}: spans or lists, and not a tag for "
            "every word; write a row for each sentence with a tag for each word, or spans of "
            'characters, {"text": "Ann won", "spans": [{"start": 0, "end": 3, "label": "X"}]}, '
            'or of words, {"tokenized_text": ["Ann", "won"], "ner": [[0, 0, "PER"]]}'
        )
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise InputError(
            f"{place}: column {text!r} holds {shown(tokens)}, not a list of strings; "
            f"split the text into words, or give --text_column_name ({', '.join(columns)})"
        )
    tags = [None] * len(tokens) if tags is None else tags
    if not isinstance(tags, list):
        raise InputError(
            f"{place}: column {label!r} holds {shown(tags)}, not a list of tags; "
            f"give --label_column_name ({', '.join(columns)})"
        )
    if len(tokens) != len(tags):
        raise InputError(
            f"{place}: {count(len(tokens), 'token')} but {count(len(tags), 'tag')} (columns "
            f"{text!r} and {label!r}); write one tag for every token"
        )
    require_whole("".join([*tokens, *map(str, tags)]), place)
    return tokens, tags


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
        ("--document_column_name", choices.document_column),
    ):
        if chosen is not None and chosen not in columns:
            raise InputError(f"{where}: no column {chosen!r} ({option}); {known}")
    by_order = [name for name in columns if name.strip() and name != "Unnamed: 0"] or columns
    if len(by_order) > 2 and _counts_sentences(by_order[0]):
        by_order = by_order[1:]
    text = choices.text_column or usual_column(columns, WORDS) or _text_column(table, by_order)
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


def _text_column(table: Table, by_order: list[str]) -> str:
    """The first column; or one with a usual name for texts, if the first holds no words."""
    named = usual_column(by_order, TEXTS)
    if named is None or named == by_order[0]:
        return by_order[0]
    _, row = next(table.rows([by_order[0]]), ("", {}))
    cell = row.get(by_order[0])
    has_words = isinstance(cell, list) or (isinstance(cell, str) and len(cell.split()) > 1)
    return by_order[0] if has_words else named


def _split_tags(cell: str, place: str, column: str, number: int) -> list:
    """The tags in a cell of a CSV: a list, or separated by blanks, or by commas.

    Raises:
        InputError: a list that is none of JSON or Python.
    """
    if re.fullmatch(r"\[[^\s\]].*\]", cell) and parse_literal(cell) is None:
        raise InputError(
            f"{place}: column {column!r} holds {shown(cell)}, no list of JSON or Python; write "
            "lists by json.dumps, or tags separated by single spaces"
        )
    tags = parse_list(cell, place, column, is_text=False)
    parts = [part.strip() for part in cell.split(",")]
    has_commas = len(parts) > 1 and (len(tags) == 1 or str(tags[0]).endswith(","))
    return parts if has_commas and len(parts) == number and not cell.startswith("[") else tags


def _without_commas(tokens: list, tags: str) -> list:
    """The words without the commas between them, where commas separate words and tags alike.

    A comma may be a word, too: ["Oslo,", ",,", "Bergen"] are three of them.
    """
    number = len(tokens) - 1
    between = number > 0 and all(str(token)[-1:] == "," for token in tokens[:-1])
    if not between or tags.count(",") != number:
        return tokens
    return [*(token.removesuffix(",") for token in tokens[:-1]), tokens[-1]]


def _counts_sentences(column: str) -> bool:
    """Whether a column, by its name, holds numbers of sentences, and cannot hold sentences."""
    return numbers_sentences(column) and column.strip().casefold() not in ("sentence", "sent")


def usual_column(columns: list[str], names: Sequence[str]) -> str | None:
    """The column with the first of these names: spelled so, else in another case."""
    exact = next((name for name in names if name in columns), None)
    folded = {column.strip().casefold(): column for column in columns}
    return exact or next((folded[name] for name in names if name in folded), None)


def _sentences(
    table: Table, text: str, label: str | None, document: str | None, tagged: bool
) -> Iterator[Cells]:
    columns = [text] if label is None else [text, label]
    if is_one_word_a_row(table, text, label):
        yield from group_words(table, text, label, document)
        return
    others = (name for name in table.columns if name not in columns)
    document = document or next(filter(names_documents, others), None)
    for place, row in table.rows([*columns, document] if document else columns):
        for name in columns if tagged else [text]:
            if name not in row:
                known = ", ".join(row) or "none"
                raise InputError(f"{place}: no column {name!r}; the columns there: {known}")
        tokens, tags = row[text], row.get(label)
        is_text = isinstance(tokens, str) and text.casefold() in TEXTS
        if is_text and isinstance(tags, list) and not table.has_text_cells:
            tokens = parse_list(tokens, place, text, is_text=True)
        if table.has_text_cells:
            for cell in (tokens, tags or ""):
                if "\n" in cell and not cell.startswith("["):
                    raise InputError(
                        f"{place}: a line break in a cell ({shown(cell)}); blanks separate words: "
                        "look for a quote that opens a cell and was meant as a word"
                    )
            tokens = parse_list(tokens, place, text, is_text=True)
            if tags is not None:
                tags = _split_tags(cell_of_tags := tags, place, label, len(tokens))
                tokens = _without_commas(tokens, cell_of_tags)
        yield Cells(place, tokens, tags, None, document_key(row, document))
