"""Tables with one word a row -> sentences."""

import re
from collections.abc import Iterator
from itertools import dropwhile, islice, pairwise
from typing import Any, NamedTuple

from tagloop.data.lines import SNIFFED_LINES
from tagloop.data.tables import Table
from tagloop.data.words.documents import names_documents
from tagloop.data.words.ids import columns_with_examples, is_one_word, looks_like_ids
from tagloop.data.words.tags import numbers_sentences
from tagloop.errors import InputError
from tagloop.wording import shown

# If this share of the rows are single words, a cell with a line break is a mistake.
KEPT = 0.5


class Cells(NamedTuple):
    """A sentence before its cells are taken for words and tags."""

    place: str
    tokens: Any
    tags: Any
    lines: list[int] | None  # of the words, where each stands on a line of its own
    document: Any = None  # the key of its document; None where no column names documents


def is_one_word_a_row(table: Table, text: str, label: str | None) -> bool:
    """Whether several rows, as far as a look ahead shows, hold a single word and a single tag.

    Rows of a CSV with a line break in a cell do not count: a quote that is a word opens them.
    """
    columns = [text] if label is None else [text, label]
    rows = [row for _, row in islice(table.rows(columns), SNIFFED_LINES)]
    if table.has_text_cells:
        whole = [row for row in rows if not any("\n" in cell for cell in row.values())]
        rows = whole if len(whole) >= KEPT * len(rows) else rows
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
    return all(map(is_one_word, (*words, *tags)))


def refuse_ids(table: Table, text: str, *, tagged: bool) -> None:
    """Refuse a column of words that was taken for its place alone, and holds ids.

    Args:
        tagged: another column holds tags, so at least two others are needed for a doubt.

    Raises:
        InputError: the column looks like ids.
    """
    rows = [row for _, row in islice(table.rows(), SNIFFED_LINES)]
    if len(table.columns) < 2 + tagged or not all(isinstance(row.get(text), str) for row in rows):
        return
    cells = [row[text] for row in rows if row[text]]
    if all(map(is_one_word, cells)) and looks_like_ids([cells]):
        columns = [(name, str(rows[0].get(name, ""))) for name in table.columns]
        raise InputError(
            f"{table.where}: column {text!r} looks like ids, not like words; the columns there: "
            f"{columns_with_examples(columns)}; name the column of the words by --text_column_name"
        )


def group_words(
    table: Table, text: str, label: str | None, document: str | None = None
) -> Iterator[Cells]:
    """Gather one word a row to sentences: a column numbers them, or blank lines part them.

    The number may stand on every row or, as in Kaggle's ner_dataset.csv, on the first row alone.
    It is a key, together with a column of documents if there is one; without one, numbers may begin
    anew with each document.

    Args:
        document: the column of documents, as the user named it; None: it is found.

    Raises:
        InputError: nothing tells where sentences end, the rows of one stand apart, or a cell of a
            CSV has a line break in it.
    """
    number = next(filter(numbers_sentences, _others(table, text, label)), None)
    columns = [name for name in (text, label, number) if name is not None]
    if number is None and not _has_blanks_inside(table, columns):
        raise InputError(
            f"{table.where}: one word a row (column {text!r}), and nothing tells where sentences "
            "end; add a column sentence_id, or a blank line after each sentence (where every row "
            'is a whole sentence, write its words as a list: ["Yes"])'
        )
    document = document or _document_column(table, text, label, number)
    columns += [document] if document is not None else []
    keys = _Keys(number, has_documents=document is not None)
    words, tags, places, current, in_document = [], [], [], None, None
    for place, row in table.rows_and_blanks(columns):
        if table.has_text_cells:
            _refuse_line_breaks(place, row)
        of_document = _key(row, document)
        of_document = in_document if of_document is None else of_document
        if number is None:
            begins = _is_blank(row)
        else:
            named = _key(row, number)
            named = current if named is None else named
            begins = (named, of_document) != (current, in_document)
            if begins:
                keys.begin((of_document, named), place)
            current = named
            keys.rows += 1
        if begins and words:
            yield _gathered(words, tags, places, in_document)
            words, tags, places = [], [], []
        in_document = of_document
        if not _is_blank(row):
            if text not in row or (label is not None and label not in row):
                raise InputError(f"{place}: this row has the columns {', '.join(row)} only")
            words.append(row[text])
            tags.append(row[label] if label is not None else None)
            places.append(place)
    if words:
        yield _gathered(words, tags, places, in_document)


class _Keys:
    """Sees to it that the rows of a sentence stand together.

    Attributes:
        rows: since the numbers began anew.
    """

    def __init__(self, column: str | None, *, has_documents: bool):
        self.column, self.has_documents, self.rows = column, has_documents, 0
        self.places: dict[tuple, str] = {}

    def begin(self, key: tuple, place: str) -> None:
        """A sentence begins here."""
        if key not in self.places:
            self.places[key] = place
            return
        is_first = key == next(iter(self.places))
        if self.has_documents or not is_first or self.rows < 2 * len(self.places):
            raise InputError(
                f"{place}: rows of the sentence {shown(key[1])} (column {self.column!r}) stand "
                f"apart, the first at {self.places[key]}, so the order of its words is not sure; "
                "sort the rows by document, sentence and word, or, if the numbers begin anew with "
                "each document, add a column doc_id"
            )
        self.places, self.rows = {key: place}, 0


def _others(table: Table, *taken: str | None) -> list[str]:
    return [name for name in table.columns if name not in taken]


def _document_column(table: Table, text: str, label: str | None, number: str | None) -> str | None:
    """The column that names documents, found by its name or, if numbers begin anew, by its runs."""
    if number is None:
        return None
    others = _others(table, text, label, number)
    if (named := next(filter(names_documents, others), None)) is not None:
        return named
    rows = [row for _, row in islice(table.rows(), SNIFFED_LINES)]
    numbers = _runs([_key(row, number) for row in rows])
    if len(set(numbers)) == len(numbers) > 1:
        return None  # no number comes twice
    for name in others:
        cells = [_key(row, name) for row in rows]
        runs = _runs(cells)
        if 1 < len(runs) == len(set(runs)) <= len(cells) / 2 and None not in cells:
            return name
    return None


def _runs(cells: list) -> list:
    """Each cell that is another one than the cell before."""
    return [cell for at, cell in enumerate(cells) if at == 0 or cell != cells[at - 1]]


def _key(row: dict | None, column: str | None) -> Any:
    """What a row says of its sentence or document; None where it says nothing."""
    cell = row.get(column) if row is not None and column is not None else None
    return None if cell == "" else str(cell) if isinstance(cell, list | dict) else cell


def _refuse_line_breaks(place: str, row: dict | None) -> None:
    for name, cell in (row or {}).items():
        if "\n" in cell:
            raise InputError(
                f"{place}: a line break in column {name!r} ({shown(cell)}), where each row is a "
                "word: a quote there opens a cell that ends lines later; double the quotes that "
                'are words and put them in quotes (""""), or save the table without any quoting'
            )


def _has_blanks_inside(table: Table, columns: list[str]) -> bool:
    """Whether a blank row stands between two others; those at the end part nothing."""
    kinds = (_is_blank(row) for _, row in table.rows_and_blanks(columns))
    return any(is_blank and not after for is_blank, after in pairwise(dropwhile(bool, kinds)))


def _is_blank(row: dict | None) -> bool:
    return row is None or not any(cell not in (None, "") for cell in row.values())


def _gathered(words: list, tags: list, places: list[str], document: Any) -> Cells:
    lines = [place.rpartition(":")[2] for place in places]
    is_file = all(line.isdecimal() for line in lines)
    numbers = [int(line) for line in lines] if is_file else None
    return Cells(places[0], words, tags, numbers, document)
