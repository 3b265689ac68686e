"""JSON and CSV -> rows with their places, for training and for tagging alike.

    table = parse_csv(lines, "a.csv", tabs=False)     # table.header, table.rows
    for place, item in parse_json(lines, "a.jsonl"):  # "a.jsonl:1", {"text": "Ann won"}

`lines` are pairs of a number and a line with its end, of a file or of a stream that can be read
only once.
"""

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from tagloop.data.annotations.tools import as_row
from tagloop.data.lines import SNIFFED_BYTES, is_blank, is_cr_only, without_end
from tagloop.errors import InputError
from tagloop.wording import count, first_line, shown

Lines = Iterable[tuple[int, str]]
_ARRAY = re.compile(r'\s*(\{(\s*"version"\s*:[^,\[\]{}]*,)?\s*"data"\s*:\s*)?\[', re.A)


# --- CSV ---


class CsvTable(NamedTuple):
    """A file of CSV.

    Attributes:
        place: of the header.
        header: names of the columns; none in an empty file.
        delimiter: what separates the cells.
        rows: place and cells by name of every row; None in place of the cells for a blank line.
    """

    place: str
    header: list[str]
    delimiter: str
    rows: Iterator[tuple[str, dict[str, str] | None]]


def parse_csv(lines: Lines, name: str, *, tabs: bool) -> CsvTable:
    """The header of a CSV, and its rows, which are read as they are asked for.

    Args:
        name: of the file, for messages.
        tabs: tabs separate the cells; else the comma, semicolon or tab that the header has most of.

    Raises:
        InputError: a line that is no CSV, two columns of one name, or a row of another length.
    """
    before, first, lines = [], "", iter(lines)
    for number, line in lines:
        before.append((number, line))
        if not is_blank(without_end(line)):
            first = line
            break
    delimiter = "\t" if tabs else max(",;\t", key=first.count)  # a comma where none is there
    cells = _csv_cells(chain(before, lines), name, delimiter)
    place, header = next(cells, (f"{name}:1", []))
    twice = [column for column, times in Counter(header).items() if times > 1 and column]
    if twice:
        raise InputError(f"{place}: two columns are named {twice[0]!r}; rename one")
    return CsvTable(place, header, delimiter, _csv_rows(cells, header, delimiter))


def _csv_rows(
    cells: Iterator[tuple[str, list[str]]], header: list[str], delimiter: str
) -> Iterator[tuple[str, dict[str, str] | None]]:
    for place, row in cells:
        if row and len(row) != len(header):
            raise InputError(
                f"{place}: {count(len(row), 'cell')}, but the header has {len(header)} "
                f"({', '.join(header)}); quote cells that hold the delimiter {delimiter!r}"
            )
        yield place, dict(zip(header, row, strict=True)) if row else None


def _csv_cells(lines: Lines, name: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield place and cells from the header on; blank lines have no cells."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
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


def _literal(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:
        items = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    # What Python itself wrote comes out the same; "['a' 'b']" of numpy would be ['ab'].
    return items if repr(items) == cell.strip() else None


# --- JSON ---


def parse_json(lines: Lines, name: str) -> Iterator[tuple[str, Any]]:
    """Yield place and item: of a line each, or of one array, which is read whole.

    Raises:
        InputError: what is no JSON.
    """
    before, size, lines = [], 0, iter(lines)
    for number, line in lines:
        before.append((number, line))
        size += len(line)
        if size >= SNIFFED_BYTES:
            break
    if is_json_array("".join(line for _, line in before)):
        yield from parse_json_array("".join(line for _, line in chain(before, lines)), name)
    else:
        yield from parse_json_lines(chain(before, lines), name)


def is_json_array(head: str) -> bool:
    """Whether a file that begins so is one array, or one object with an array under "data"."""
    return _ARRAY.match(head) is not None


def parse_json_lines(lines: Lines, name: str) -> Iterator[tuple[str, Any]]:
    """Yield place and item of every line that is not blank.

    Raises:
        InputError: a line that is no JSON.
    """
    for number, line in lines:
        bare = without_end(line)
        if not is_blank(bare):
            try:
                item = json.loads(bare)
            except (ValueError, RecursionError) as error:
                raise _bad_json(name, number, error) from error
            yield f"{name}:{number}", item


def parse_json_array(text: str, name: str) -> list[tuple[str, Any]]:
    """Place and item of one array, or of the array under "data"; of lines that are arrays, too.

    Raises:
        InputError: the text is no JSON.
    """
    if is_cr_only(text[:4096].encode()):
        text = text.replace("\r", "\n")  # so that the parser counts lines
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("[") and error.msg == "Extra data":  # lines of arrays
            return list(parse_json_lines(enumerate(text.split("\n"), start=1), name))
        raise _bad_json(name, error.lineno, error) from error
    except (ValueError, RecursionError) as error:
        raise _bad_json(name, 1, error) from error
    if isinstance(items, dict):
        return list(numbered(items["data"], name))
    if isinstance(as_row(items), dict):
        return [(f"{name}:1", items)]
    lines = _item_lines(text)
    if len(set(lines)) < len(items):  # several on a line: their numbers tell more
        return list(numbered(items, name))
    return [(f"{name}:{line}", item) for line, item in zip(lines, items, strict=True)]


def numbered(items: Iterable[Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield a place ("train[3]") and the item."""
    return ((f"{name}[{number}]", item) for number, item in enumerate(items))


def json_row(item: Any, place: str) -> dict:
    """An item as a row of named columns.

    Raises:
        InputError: it is none.
    """
    row = as_row(item)
    if not isinstance(row, dict):
        raise InputError(
            f'{place}: holds {shown(row)}, not a row; write each row as an object: {{"text": '
            '"a b"} or {"tokens": ["a", "b"], "tags": ["O", "O"]}'
        )
    return row


def _item_lines(text: str) -> list[int]:
    """The line that each item of an array begins on."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*", re.A)
    lines, line, counted, at = [], 1, 0, text.index("[") + 1
    while text[at := blank.match(text, at).end()] != "]":
        line, counted = line + text.count("\n", counted, at), at
        lines.append(line)
        at = decoder.raw_decode(text, at)[1]
    return lines


def _bad_json(name: str, line: int, error: Exception) -> InputError:
    reason = "too deep" if isinstance(error, RecursionError) else first_line(error)
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg}, column {error.colno}"
    return InputError(
        f"{name}:{line}: not valid JSON ({reason}); "
        "write one object a line, or one array of objects"
    )
