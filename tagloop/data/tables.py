"""JSON, CSV, parquet and datasets as tables: rows of named columns, whatever they hold.

table = open_table(Path("train.csv"))
table.columns                    # ["sentence1", "sentence2", "label"]
for place, row in table.rows():  # "train.csv:2", {"sentence1": "...", ...}
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tagloop.data.annotations.tools import named
from tagloop.data.lines import (
    is_blank,
    is_cr_only,
    read_head,
    read_lines,
    read_text,
)
from tagloop.errors import InputError
from tagloop.wording import count, shown

BATCH = 1000  # rows
Rows = Iterator[tuple[str, dict]]
RowsAndBlanks = Iterator[tuple[str, dict | None]]


@dataclass(frozen=True)
class Table:
    """Named columns, read row by row as often as `rows` is called.

    Attributes:
        where: the place that names the columns, for messages: "a.csv:1", "a.jsonl:1", "train".
        columns: their names, in order; those of the first row where rows are objects of JSON.
        has_text_cells: True for CSV and TSV, whose cells are all strings.
    """

    where: str
    columns: list[str]
    has_text_cells: bool
    _features: datasets.Features | None
    _read: Callable[[list[str]], RowsAndBlanks]

    def rows(self, columns: Sequence[str] | None = None) -> Rows:
        """Yield (place, row): "a.csv:2" or "a.parquet[0]", and the cells by column.

        `columns` spares the others where the format allows. Cells are as the source has them:
        strings in CSV, null as None. A JSON row may have other columns than the first one.

        Raises:
            InputError: a row that cannot be read; the message begins with its place.
        """
        return ((place, row) for place, row in self.rows_and_blanks(columns) if row is not None)

    def rows_and_blanks(self, columns: Sequence[str] | None = None) -> RowsAndBlanks:
        """The same, and (place, None) for a blank line of a CSV."""
        return self._read(list(columns if columns is not None else self.columns))

    def class_names(self, column: str) -> list[str] | None:
        """The names of integers where the column holds ClassLabels, or lists of them."""
        feature = (self._features or {}).get(column)
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
        return inner.names if isinstance(inner, datasets.ClassLabel) else None


def open_table(source: Path | datasets.Dataset | list[dict], name: str = "row") -> Table:
    """The table of a file, a dataset, or a list of dicts; `name` is theirs in messages ("train").

    The suffix of a file tells its format: .json, .jsonl, .ndjson, .csv, .tsv or .parquet.

    Raises:
        InputError: the file is none of these, or its first row cannot be read.
    """
    if isinstance(source, datasets.Dataset):
        return _open_dataset(source, name)
    if isinstance(source, list):
        columns = list(source[0]) if source else []
        return Table(name, columns, False, None, lambda _: _numbered(name, source))
    suffix = source.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(source)
    if suffix in (".csv", ".tsv"):
        return _open_csv(source)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _open_json(source)
    raise InputError(f"{source}: unknown format {suffix!r}; known are .json(l), .csv, .parquet")


def _numbered(name: str, rows: Any) -> Rows:
    return ((f"{name}[{number}]", row) for number, row in enumerate(rows))


def _open_dataset(dataset: datasets.Dataset, name: str) -> Table:
    def rows(columns: list[str]) -> Rows:
        arrow = dataset.select_columns(columns).with_format("arrow")
        return _numbered(name, (row for part in arrow.iter(BATCH) for row in part.to_pylist()))

    return Table(name, list(dataset.features), False, dataset.features, rows)


def _open_parquet(path: Path) -> Table:
    def refused(error: Exception) -> InputError:
        return InputError(f"{path}: not a readable parquet file ({error})")

    def rows(columns: list[str]) -> Rows:
        try:
            with pq.ParquetFile(path) as file:
                parts = file.iter_batches(BATCH, columns=columns)
                yield from _numbered(str(path), (row for part in parts for row in part.to_pylist()))
        except (pa.ArrowException, OSError) as error:
            raise refused(error) from error

    try:
        features = datasets.Features.from_arrow_schema(pq.read_schema(path))
    except (pa.ArrowException, OSError) as error:
        raise refused(error) from error
    return Table(str(path), list(features), False, features, rows)


# --- CSV ---


def _open_csv(path: Path) -> Table:
    first = next((line for _, line in read_lines(path) if not is_blank(line)), "")
    # The delimiter is the character that the header has most of, a comma where none is.
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    place, header = next(_csv_cells(path, delimiter), (f"{path}:1", []))
    twice = [name for name, times in Counter(header).items() if times > 1 and name]
    if twice:
        raise InputError(f"{place}: two columns are named {twice[0]!r}; rename one")

    def rows(_: list[str]) -> RowsAndBlanks:
        cells = _csv_cells(path, delimiter)
        next(cells, None)
        for place, row in cells:
            if row and len(row) != len(header):
                raise InputError(
                    f"{place}: {count(len(row), 'cell')}, but the header has {len(header)} "
                    f"({', '.join(header)}); quote cells that hold the delimiter {delimiter!r}"
                )
            yield place, dict(zip(header, row, strict=True)) if row else None

    return Table(place, header, True, None, rows)


def _csv_cells(path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, cells) from the header on; blank lines have no cells."""
    csv.field_size_limit(2**31 - 1)
    lines = (line + "\n" for _, line in read_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    is_header = True
    while True:
        place = f"{path}:{reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{place}: not readable as CSV ({error}); check quotes") from error
        if row or not is_header:
            yield place, row
            is_header = False


# --- JSON ---


def _open_json(path: Path) -> Table:
    head = read_head(path).decode("utf-8-sig", errors="replace")
    is_array = re.match(r'\s*(\{(\s*"version"\s*:[^,\[\]{}]*,)?\s*"data"\s*:\s*)?\[', head, re.A)
    items = _json_array(path) if is_array else None

    def rows(_: list[str]) -> Rows:
        placed = _json_lines(path) if items is None else items
        for place, item in placed:
            row = named(item)
            if not isinstance(row, dict):
                raise InputError(
                    f"{place}: holds {shown(row)}, not a row; write each row as an object, "
                    'for example {"tokens": ["a", "b"], "ner_tags": ["O", "O"]}'
                )
            yield place, row

    place, first = next(rows([]), (str(path), {}))
    return Table(place, list(first), False, None, rows)


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in read_lines(path):
        if not is_blank(line):
            try:
                yield f"{path}:{number}", json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise _bad_json(path, number, error) from error


def _json_array(path: Path) -> list[tuple[str, Any]]:
    """The items of one array, or of the array under "data", and where each stands."""
    text = read_text(path)
    if is_cr_only(text[:4096].encode()):
        text = text.replace("\r", "\n")  # so that the parser counts lines
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("[") and error.msg == "Extra data":  # lines of lists
            return list(_json_lines(path))
        raise _bad_json(path, error.lineno, error) from error
    except RecursionError as error:
        raise _bad_json(path, 1, error) from error
    if isinstance(found, dict):
        return list(_numbered(str(path), found["data"]))
    if isinstance(named(found), dict):
        return [(f"{path}:1", found)]
    lines = _item_lines(text)
    if len(set(lines)) < len(found):  # several on a line: their numbers tell more
        return list(_numbered(str(path), found))
    return [(f"{path}:{line}", row) for line, row in zip(lines, found, strict=True)]


def _item_lines(text: str) -> list[int]:
    """The line that each item of an array begins on."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*", re.A)
    lines, line, counted, at = [], 1, 0, text.index("[") + 1
    while text[at := blank.match(text, at).end()] != "]":
        line, counted = line + text.count("\n", counted, at), at
        lines.append(line)
        at = decoder.raw_decode(text, at)[1]
    return lines


def _bad_json(path: Path, line: int, error: Exception) -> InputError:
    reason = f"{error.msg}, column {error.colno}" if isinstance(error, ValueError) else "too deep"
    return InputError(
        f"{path}:{line}: not valid JSON ({reason}); "
        "write one object a line, or one array of objects"
    )
