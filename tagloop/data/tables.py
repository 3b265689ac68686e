"""JSON, CSV, parquet, lines of text and datasets as tables: rows of named columns.

The articles of SQuAD's nested files become a row for every question. A column `translation`, whose
cells are objects such as {"en": "Rain.", "de": "Regen."}, becomes a column for every language.

table = open_table(Path("train.csv"))
table.columns                    # ["sentence1", "sentence2", "label"]
for place, row in table.rows():  # "train.csv:2", {"sentence1": "...", ...}
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tagloop.data.csv_rows import CsvTable, parse_csv, uses_quotes
from tagloop.data.encodings import read_head
from tagloop.data.formats import table_format
from tagloop.data.json_rows import (
    is_json_array,
    json_row,
    numbered,
    parse_json_array,
    parse_json_lines,
)
from tagloop.data.lines import read_lines, read_text
from tagloop.data.questions import flatten_articles, is_article
from tagloop.data.storage.arrow_files import BATCH
from tagloop.errors import InputError

TRANSLATION = "translation"  # The column of hub datasets of translations.
Rows = Iterator[tuple[str, dict]]
RowsAndBlanks = Iterator[tuple[str, dict | None]]


@dataclass(frozen=True)
class Table:
    """Named columns, read row by row as often as `rows` is called.

    Attributes:
        where: the place that names the columns, for messages: "a.csv:1", "a.jsonl:1", "train".
        columns: their names, in order; those of the first row where rows are objects of JSON.
        has_text_cells: True for CSV and TSV, whose cells are all strings.
        is_translation: True if the columns are languages, from a column `translation`.
    """

    where: str
    columns: list[str]
    has_text_cells: bool
    _features: datasets.Features | None
    _read: Callable[[list[str]], RowsAndBlanks]
    is_translation: bool = False

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

    def with_examples(self) -> str:
        """The columns with a cell of each, for messages: "id ('1'), body ('Rain.')"."""
        _, row = next(self.rows(), ("", {}))
        return ", ".join(f"{name} ({str(row.get(name))[:30]!r})" for name in self.columns)

    def class_names(self, column: str) -> list[str] | None:
        """The names of integers where the column holds ClassLabels, or lists of them."""
        feature = (self._features or {}).get(column)
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
        return inner.names if isinstance(inner, datasets.ClassLabel) else None


def open_table(source: Path | datasets.Dataset | list[dict], name: str = "row") -> Table:
    """The table of a file, a dataset, or a list of dicts; `name` is theirs in messages ("train").

    The suffix of a file tells its format: .json, .jsonl, .ndjson, .csv, .tsv, .parquet or .txt. A
    text file has the one column `text`, and every line is a row, blank lines, too.

    Raises:
        InputError: the file is none of these, or its first row cannot be read.
    """
    return _with_languages(_open(source, name))


def _open(source: Path | datasets.Dataset | list[dict], name: str) -> Table:
    if isinstance(source, datasets.Dataset):
        return _open_dataset(source, name)
    if isinstance(source, list):
        columns = list(source[0]) if source else []
        return Table(name, columns, False, None, lambda _: numbered(source, name))
    format = table_format(source)
    if format == "parquet":
        return _open_parquet(source)
    if format == "txt":
        return _open_text(source)
    return _open_json(source) if format == "jsonl" else _open_csv(source)


def _with_languages(table: Table) -> Table:
    """The table with a column for every language of its column `translation`, if it has that."""
    if TRANSLATION not in table.columns:
        return table
    _, first = next(table.rows(), ("", {}))
    if not isinstance(first.get(TRANSLATION), dict):
        return table

    def spread(row: dict) -> dict:
        texts = row.get(TRANSLATION)
        others = {name: cell for name, cell in row.items() if name != TRANSLATION}
        return others | (texts if isinstance(texts, dict) else {})

    def rows(_: list[str]) -> RowsAndBlanks:
        read = table.rows_and_blanks()
        return ((place, None if row is None else spread(row)) for place, row in read)

    columns = list(spread(first))
    return Table(
        table.where, columns, table.has_text_cells, table._features, rows, is_translation=True
    )


def _open_dataset(dataset: datasets.Dataset, name: str) -> Table:
    def rows(columns: list[str]) -> Rows:
        arrow = dataset.select_columns(columns).with_format("arrow")
        return numbered((row for part in arrow.iter(BATCH) for row in part.to_pylist()), name)

    return Table(name, list(dataset.features), False, dataset.features, rows)


def _open_parquet(path: Path) -> Table:
    def refused(error: Exception) -> InputError:
        return InputError(f"{path}: not a readable parquet file ({error})")

    def rows(columns: list[str]) -> Rows:
        try:
            with pq.ParquetFile(path) as file:
                parts = file.iter_batches(BATCH, columns=columns)
                yield from numbered((row for part in parts for row in part.to_pylist()), str(path))
        except (pa.ArrowException, OSError) as error:
            raise refused(error) from error

    try:
        features = datasets.Features.from_arrow_schema(pq.read_schema(path))
    except (pa.ArrowException, OSError, ValueError) as error:  # a type that datasets does not know
        raise refused(error) from error
    return Table(str(path), list(features), False, features, rows)


def _open_text(path: Path) -> Table:
    def rows(_: list[str]) -> Rows:
        return ((f"{path}:{number}", {"text": line}) for number, line in read_lines(path))

    return Table(str(path), ["text"], True, None, rows)


def _open_csv(path: Path) -> Table:
    tabs = path.suffix.lower() == ".tsv"
    quotes = uses_quotes(read_lines(path), tabs=tabs)

    def parse() -> CsvTable:
        lines = ((number, line + "\n") for number, line in read_lines(path))
        return parse_csv(lines, str(path), tabs=tabs, quotes=quotes)

    table = parse()
    return Table(table.place, table.header, True, None, lambda _: parse().rows)


def _open_json(path: Path) -> Table:
    name, head = str(path), read_head(path).decode("utf-8-sig", errors="replace")
    array = parse_json_array(read_text(path), name) if is_json_array(head) else None

    def rows(_: list[str]) -> Rows:
        items = parse_json_lines(read_lines(path), name) if array is None else array
        return ((place, json_row(item, place)) for place, item in items)

    def questions(_: list[str]) -> Rows:
        return flatten_articles(rows([]))

    place, first = next(rows([]), (name, {}))
    if is_article(first):
        place, first = next(questions([]), (place, {}))
        return Table(place, list(first), False, None, questions)
    return Table(place, list(first), False, None, rows)
