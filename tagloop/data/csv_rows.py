"""CSV -> cells with their places, and lists in cells, for training and for tagging alike.

    table = parse_csv(lines, "a.csv", tabs=False)   # table.header, table.rows

`lines` are those of a file or of a stream that can be read only once.
"""

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from tagloop.data.lines import Lines, is_blank, without_end
from tagloop.errors import InputError
from tagloop.wording import count

_DOUBLED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')  # a quoted cell with a quote in it


class CsvTable(NamedTuple):
    """A file of CSV.

    Attributes:
        place: of the header.
        header: names of the columns; none in an empty file.
        delimiter: what separates the cells.
        quotes: a cell may stand in quotes; else a quote is a character like any other.
        rows: place and cells by name of every row; None in place of the cells for a blank line.
    """

    place: str
    header: list[str]
    delimiter: str
    quotes: bool
    rows: Iterator[tuple[str, dict[str, str] | None]]


def parse_csv(lines: Lines, name: str, *, tabs: bool, quotes: bool = True) -> CsvTable:
    """The header of a CSV, and its rows, which are read as they are asked for.

    Args:
        name: of the file, for messages.
        tabs: tabs separate the cells; else the comma, semicolon or tab that the header has most of.
        quotes: as `uses_quotes` tells.

    Raises:
        InputError: a line that is no CSV, two columns of one name, or a row of another length.
    """
    before, first, lines = [], "", iter(lines)
    for number, line in lines:
        before.append((number, line))
        if not is_blank(without_end(line)):
            first = line
            break
    delimiter = _delimiter_of(first, tabs)
    cells = _csv_cells(chain(before, lines), name, delimiter, quotes)
    place, header = next(cells, (f"{name}:1", []))
    twice = [column for column, times in Counter(header).items() if times > 1 and column]
    if twice:
        raise InputError(f"{place}: two columns are named {twice[0]!r}; rename one")
    return CsvTable(place, header, delimiter, quotes, _csv_rows(cells, header, delimiter))


def uses_quotes(lines: Lines, *, tabs: bool) -> bool:
    """Whether quotes stand around cells, as in CSV; else a quote is a word or a part of one.

    Tables of words, and most of those with tabs, never quote: `7<tab>"<tab>O`. They are told by
    two signs: every line, cut at each delimiter, has as many cells as the header, and some cell
    has quotes that no writer of CSV leaves so: `"` alone, or where tabs separate the cells `5"` and
    `"Yes`, too. (With commas, a quoted text may go on in the next line.) A quoted cell with a
    doubled quote in it shows that the table quotes.

    Args:
        lines: of the whole file; their ends do not matter.
        tabs: see `parse_csv`.
    """
    delimiter, width, is_proven = "", 0, False
    for _, line in lines:
        bare = without_end(line)
        if is_blank(bare):
            continue
        if not delimiter:
            delimiter = _delimiter_of(bare, tabs)
            width = bare.count(delimiter)
        if bare.count(delimiter) != width:
            return True
        if '"' in bare:
            cells = bare.split(delimiter)
            if any(map(_DOUBLED.fullmatch, cells)):
                return True
            is_proven |= '"' in cells
            is_proven |= delimiter == "\t" and any(map(_is_never_quoted, cells))
    return not is_proven


def _is_never_quoted(cell: str) -> bool:
    """Whether a cell has quotes that no writer of CSV leaves so."""
    if '"' not in cell:
        return False
    inside = cell[1:-1].replace('""', "") if len(cell) > 1 and cell[0] == cell[-1] == '"' else '"'
    return '"' in inside


def _delimiter_of(header: str, tabs: bool) -> str:
    # A header with none of them has the comma.
    return "\t" if tabs else max(",;\t", key=header.count)


def _csv_rows(
    cells: Iterator[tuple[str, list[str]]], header: list[str], delimiter: str
) -> Iterator[tuple[str, dict[str, str] | None]]:
    for place, row in cells:
        if row and len(row) != len(header):
            remedy = f"quote cells that hold the delimiter {delimiter!r}"
            if any("\n" in cell for cell in row):
                remedy = "a quote that is no mark of a cell seems to open one there; double it"
            raise InputError(
                f"{place}: {count(len(row), 'cell')}, but the header has {len(header)} "
                f"({', '.join(header)}); {remedy}"
            )
        yield place, dict(zip(header, row, strict=True)) if row else None


def _csv_cells(
    lines: Lines, name: str, delimiter: str, quotes: bool
) -> Iterator[tuple[str, list[str]]]:
    """Yield place and cells from the header on; blank lines have no cells."""
    csv.field_size_limit(2**31 - 1)
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    texts = (line for _, line in lines)
    reader = csv.reader(texts, delimiter=delimiter, strict=True, quoting=quoting)
    is_header = True
    while True:
        place = f"{name}:{reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{place}: not readable as CSV ({error}); check quotes") from error
        if row is None:
            return
        if row or not is_header:
            yield place, row
            is_header = False


def parse_list(cell: str, place: str, column: str, *, is_text: bool) -> list:
    """The list that a cell of a CSV holds: of JSON, of Python, or of words with spaces.

    Args:
        place, column: for messages.
        is_text: the list is of words, so a list of numbers alone ("[1]") is itself a word.

    Raises:
        InputError: the cell begins as a list of strings does, and is none.
    """
    if cell.startswith("["):
        items = _literal(cell)
        if isinstance(items, list):
            if not is_text or not items or any(isinstance(item, str) for item in items):
                return items
        elif cell[1:2] in ('"', "'"):
            raise InputError(
                f"{place}: column {column!r} is neither a JSON list nor one of Python; write lists "
                "by json.dumps, or words separated by single spaces"
            )
    return [item for item in cell.split(" ") if item]


def parse_literal(cell: str) -> list | None:
    """The list that a cell of a CSV holds, of JSON or of Python; None: it holds no list.

    Of an object {"entities": [...]}, as spaCy writes it, the result is the list inside.
    """
    items = _literal(cell) if cell.startswith(("[", "{")) else None
    items = items.get("entities") if isinstance(items, dict) else items
    return items if isinstance(items, list) else None


def _literal(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:
        items = ast.literal_eval(cell)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    # What Python itself wrote comes out the same; "['a' 'b']" of numpy would be ['ab'].
    return items if repr(items) == cell.strip() else None
